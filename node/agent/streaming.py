"""Exec, attach and port-forward: a client of the runtime's streaming server on one side, gRPC messages on the other.

The runtime gives a URL that speaks SPDY: ``v4.channel.k8s.io`` for commands, ``portforward.k8s.io`` for ports.
Source: the CRI specification, "streaming API"; ``k8s.io/streaming``.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

import orjson

from apimachinery import spdy
from apimachinery.errors import ApiError, InternalError
from apimachinery.spdy.upgrade import connect
from node.agent.http_get import insecure_tls
from protos.kubeto.v1 import node_pb2 as pb

COMMAND_PROTOCOL: Final = "v4.channel.k8s.io"
PORT_PROTOCOL: Final = "portforward.k8s.io"
_READ_BYTES: Final = 32 * 1024
_Output = asyncio.Queue[pb.TerminalOutput | None]


async def terminal(
    url: str, open_: pb.TerminalOpen, inputs: AsyncIterator[pb.TerminalInput]
) -> AsyncIterator[pb.TerminalOutput]:
    """Join a caller's terminal to a command at the runtime's ``url``. The last message is its status."""
    try:
        connection, _ = await connect(url, [COMMAND_PROTOCOL], tls=insecure_tls())
    except (OSError, spdy.SpdyError) as error:
        raise InternalError(f"the container runtime's streaming server refused: {error}") from error
    async with connection:
        streams = await _open_streams(connection, open_)
        yield pb.TerminalOutput(opened=True)
        output: _Output = asyncio.Queue(maxsize=16)
        feeding = asyncio.create_task(_feed(streams, inputs), name="terminal-input")
        draining = asyncio.create_task(_drain(streams, output), name="terminal-output")
        try:
            while (message := await output.get()) is not None:
                yield message
        finally:
            feeding.cancel()
            draining.cancel()


async def _open_streams(connection: spdy.Connection, open_: pb.TerminalOpen) -> dict[str, spdy.Stream]:
    """The streams in the order in which the server expects them."""
    wanted = [
        ("error", True),
        ("stdin", open_.stdin),
        ("stdout", open_.stdout),
        ("stderr", open_.stderr and not open_.tty),
        ("resize", open_.tty),
    ]
    return {name: await connection.open_stream({"streamType": name}) for name, want in wanted if want}


async def _feed(streams: dict[str, spdy.Stream], inputs: AsyncIterator[pb.TerminalInput]) -> None:
    """The caller's input to the command, until the caller ends it or goes away."""
    try:
        async for message in inputs:
            kind = message.WhichOneof("input")
            if kind == "stdin" and "stdin" in streams:
                await streams["stdin"].write(message.stdin)
            elif kind == "close_stdin" and "stdin" in streams:
                await streams["stdin"].close_write()
            elif kind == "resize" and "resize" in streams:
                size = {"Width": message.resize.width, "Height": message.resize.height}
                await streams["resize"].write(json.dumps(size).encode())
    except (spdy.SpdyError, ValueError):
        return  # the command has ended; its status tells the caller


async def _drain(streams: dict[str, spdy.Stream], output: _Output) -> None:
    """The command's output to the queue, then its status, then None."""
    outputs = [name for name in ("stdout", "stderr") if name in streams]
    error = asyncio.create_task(_error_text(streams["error"]))
    await asyncio.gather(*(_copy(streams[name], name, output) for name in outputs))
    await output.put(pb.TerminalOutput(status=_status(await error)))
    await output.put(None)


async def _copy(stream: spdy.Stream, name: str, output: _Output) -> None:
    try:
        while data := await stream.read(_READ_BYTES):
            stdout = name == "stdout"
            await output.put(pb.TerminalOutput(stdout=data) if stdout else pb.TerminalOutput(stderr=data))
    except spdy.SpdyError:
        return


async def _error_text(stream: spdy.Stream) -> bytes:
    """What the runtime says of the command's end.

    Runtimes end this stream by a reset, with or without a Status before.
    """
    text = b""
    try:
        while data := await stream.read():
            text += data
    except spdy.StreamReset:
        pass
    except spdy.SpdyError as error:
        return text or orjson.dumps(InternalError(f"the runtime's stream broke: {error}").to_status())
    return text


def _status(text: bytes) -> bytes:
    """The runtime's Status as it is; what is not JSON becomes the message of one."""
    if not text:
        return orjson.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return orjson.dumps(InternalError(text.decode("utf-8", "replace")).to_status())
    return text


async def port_forward(
    url: str, port: int, inputs: AsyncIterator[pb.PortForwardData]
) -> AsyncIterator[pb.PortForwardData]:
    """Join one TCP connection of a caller to a port in the pod."""
    try:
        connection, _ = await connect(url, [PORT_PROTOCOL], tls=insecure_tls())
    except (OSError, spdy.SpdyError) as error:
        yield pb.PortForwardData(error=f"the container runtime's streaming server refused: {error}")
        return
    async with connection:
        about = {"port": str(port), "requestID": "0"}
        errors = await connection.open_stream({"streamType": "error", **about}, fin=True)
        data = await connection.open_stream({"streamType": "data", **about})
        yield pb.PortForwardData(opened=True)
        feeding = asyncio.create_task(_feed_port(data, inputs), name="port-forward-input")
        try:
            while payload := await data.read(_READ_BYTES):
                yield pb.PortForwardData(payload=payload)
            text = await errors.read_all()
            yield pb.PortForwardData(error=text.decode("utf-8", "replace")) if text else pb.PortForwardData(close=True)
        except spdy.SpdyError as broken:
            yield pb.PortForwardData(error=str(broken))
        finally:
            feeding.cancel()


async def _feed_port(stream: spdy.Stream, inputs: AsyncIterator[pb.PortForwardData]) -> None:
    try:
        async for message in inputs:
            kind = message.WhichOneof("data")
            if kind == "payload":
                await stream.write(message.payload)
            elif kind == "close":
                await stream.close_write()
    except (spdy.SpdyError, ValueError):
        return  # the pod has closed its side; the reader tells the caller


def failure(error: ApiError) -> pb.TerminalOutput:
    """The message that ends a terminal that could not be opened."""
    return pb.TerminalOutput(status=orjson.dumps(error.to_status()))
