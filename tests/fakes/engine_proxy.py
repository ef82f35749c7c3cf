"""A Docker engine's socket with a listener in front: it sees every call and may stop what asked before the answer.

Only what a client with one request at a time on a connection needs of HTTP/1.1.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_ENGINE = "/var/run/docker.sock"
_NAMES = re.compile(r"[0-9a-f]{64}|k8s_[^/?]*")
OnCall = Callable[[str], bool | None]
"""Is told a call such as ``POST /containers/ID/start``, carried out but not yet answered. False: break the connection
off; None: never answer."""


@asynccontextmanager
async def engine_proxy(folder: Path, on_answer: OnCall) -> AsyncIterator[str]:
    """The address of the proxy."""
    path = str(folder / "proxy.sock")

    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_engine, to_engine = await asyncio.open_unix_connection(_ENGINE)
        calls: asyncio.Queue[str] = asyncio.Queue()
        upwards = asyncio.create_task(_requests(reader, to_engine, calls))
        try:
            with suppress(ConnectionError):
                await _answers(from_engine, writer, calls, on_answer)
        finally:
            upwards.cancel()
            to_engine.close()
            writer.close()

    async with await asyncio.start_unix_server(accept, path):
        yield f"unix://{path}"
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _requests(reader: asyncio.StreamReader, engine: asyncio.StreamWriter, calls: "asyncio.Queue[str]") -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            method, target = head.decode().split(" ", 2)[:2]
            calls.put_nowait(f"{method} {_NAMES.sub('ID', target.split('?')[0]).removeprefix('/v1.41')}")
            engine.write(head + body)
            await engine.drain()


async def _answers(
    engine: asyncio.StreamReader, writer: asyncio.StreamWriter, calls: "asyncio.Queue[str]", on_answer: OnCall
) -> None:
    while data := await engine.read(1 << 16):
        while not calls.empty():
            verdict = on_answer(calls.get_nowait())
            if verdict is None:
                await asyncio.Event().wait()
            if not verdict:
                return
        writer.write(data)
        await writer.drain()
