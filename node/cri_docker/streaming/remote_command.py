"""Exec and attach: the engine's stream joined to a client's channels."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from apimachinery.logging import get_logger
from apimachinery.spdy import SpdyError
from node.cri_docker import execs
from node.cri_docker.engine import Connection, Engine, EngineError
from node.cri_docker.execs import Execs
from node.cri_docker.refusal import CriError
from node.cri_docker.streaming import channels as ch
from node.cri_docker.streaming.channels import Channels, Status
from protos.cri.runtime.v1 import api_pb2 as cri

log = get_logger(__name__)
Resize = Callable[[int, int], Awaitable[None]]


async def run_exec(execs_: Execs, request: cri.ExecRequest, client: Channels) -> None:
    """Run the command for as long as the client stays: a command whose client is gone is killed."""
    try:
        exec_id = await execs_.create(request.container_id, request.cmd, stdin=request.stdin, tty=request.tty)
        connection = await execs_.start(exec_id, tty=request.tty)
    except (CriError, EngineError) as error:
        await client.finish(ch.failed(str(error)))
        return

    async def resize(width: int, height: int) -> None:
        await execs_.resize(exec_id, width, height)

    async def status() -> Status:
        return ch.exited(await execs_.exit_code(exec_id))

    if not await _join(connection, client, request.tty, resize, status):
        await execs_.kill(exec_id)


async def run_attach(
    engine: Engine, container_id: str, tty: bool, request: cri.AttachRequest, client: Channels
) -> None:
    """Attach until the container ends or the client goes, which leaves the container alone."""
    try:
        connection = await engine.hijack(
            f"/containers/{container_id}/attach",
            stream=True,
            stdin=request.stdin,
            stdout=request.stdout,
            stderr=request.stderr,
            detachKeys=execs.NO_DETACH_KEYS,
        )
    except EngineError as error:
        await client.finish(ch.failed(error.message))
        return

    async def resize(width: int, height: int) -> None:
        await engine.post(f"/containers/{container_id}/resize", w=width, h=height)

    async def status() -> Status:
        return ch.success()

    await _join(connection, client, tty, resize, status)


async def _join(
    connection: Connection, client: Channels, tty: bool, resize: Resize, status: Callable[[], Awaitable[Status]]
) -> bool:
    """Copy all ways until the engine's side has ended (True) or the client is gone (False)."""
    output = asyncio.create_task(_copy_out(connection, client, tty), name="stream output")
    lost = asyncio.create_task(client.lost(), name="stream client")
    helpers = [
        asyncio.create_task(_copy_in(connection, client, tty), name="stream stdin"),
        asyncio.create_task(_follow_sizes(client, resize), name="stream sizes"),
    ]
    try:
        await asyncio.wait({output, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not output.done() or output.exception():
            log.debug("Client left", error=repr(output.exception()) if output.done() else None)
            return False
        with suppress(ConnectionError, SpdyError):
            await client.finish(await status())
        return True
    finally:
        for task in (output, lost, *helpers):
            task.cancel()
        await asyncio.gather(output, lost, *helpers, return_exceptions=True)
        connection.close()


async def _copy_out(connection: Connection, client: Channels, tty: bool) -> None:
    if tty:
        while data := await connection.reader.read(1 << 15):
            await client.write(ch.STDOUT, data)
    else:
        async for stream, data in execs.frames(connection):
            await client.write(stream, data)


async def _copy_in(connection: Connection, client: Channels, tty: bool) -> None:
    """The end of stdin is told, but not for a terminal: the engine would end its output, too."""
    with suppress(ConnectionError):
        async for data in client.stdin():
            connection.writer.write(data)
            await connection.writer.drain()
        if not tty and connection.writer.can_write_eof():
            connection.writer.write_eof()


async def _follow_sizes(client: Channels, resize: Resize) -> None:
    async for width, height in client.sizes():
        # A terminal that is not there yet, or not any more, has no size to lose.
        with suppress(EngineError):
            await resize(width, height)
