"""How tests wait: for conditions, never for time.

The limits only tell a hang from a slow machine, so they are generous. A test that passes never waits for one.
"""

import asyncio
import contextlib
import http.client
import time
from collections.abc import Callable
from typing import Any

from apimachinery.errors import ApiError

WITHIN = 40.0
"""Seconds."""


def eventually(check: Callable[[], Any], within: float = WITHIN) -> Any:
    """The first truthy answer of ``check``; fails with its last answer or error when there is none in time."""
    deadline, last, pause = time.monotonic() + within, None, 0.01
    while time.monotonic() < deadline:
        try:
            if last := check():
                return last
        except (AssertionError, OSError, http.client.HTTPException) as error:
            last = error
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    raise AssertionError(f"not within {within} s: {last!r}")


async def until(check: Callable[[], object], within: float = WITHIN) -> None:
    """Wait until ``check()`` is true; an ApiError from it counts as not yet."""
    async with asyncio.timeout(within):
        while True:
            with contextlib.suppress(ApiError):
                if check():
                    return
            await asyncio.sleep(0.002)
