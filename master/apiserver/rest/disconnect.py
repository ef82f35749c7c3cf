"""Ends what is done for a client when the client goes away: uvicorn drops what is sent to it without a word."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` unless the client disconnects first. Nobody else may read from ``receive`` meanwhile."""
    working = asyncio.create_task(work, name="response")
    leaving = asyncio.create_task(_gone(receive), name="client-gone")
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
        continue
