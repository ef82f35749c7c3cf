"""The server's side of Kubernetes' WebSocket sub-protocols, over ASGI.

A message of the channel protocols is one byte, the channel's number, and bytes; of the base64 variants a text, the
number as a digit and base64. v4 made the error channel a Status, v5 added a close signal for a channel.

Source: ``k8s.io/apimachinery/pkg/util/remotecommand/constants.go``, ``k8s.io/apiserver/pkg/util/wsstream``; KEP-4006.
"""

import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from apimachinery.errors import BadRequest
from protos.kubeto.v1 import node_pb2 as pb

from .terminal import TerminalOptions

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V5, V4, V1 = "v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"
V4_BASE64, V1_BASE64 = "v4.base64.channel.k8s.io", "base64.channel.k8s.io"
TERMINAL_PROTOCOLS = (V5, V4, V4_BASE64, V1, V1_BASE64)
BINARY, BASE64_BINARY = "binary.k8s.io", "base64.binary.k8s.io"
READER_PROTOCOLS = (BINARY, BASE64_BINARY)


def negotiate(scope: Scope, supported: Sequence[str]) -> str:
    """The client's first offer that is supported; "" where it offers nothing. Raises BadRequest."""
    offered: list[str] = list(scope.get("subprotocols") or ())
    chosen = next((p for p in offered if p in supported), None)
    if offered and chosen is None:
        raise BadRequest(f"unable to upgrade: none of the sub-protocols {offered} is supported, of {list(supported)}")
    return chosen or ""


async def accept(receive: Receive, send: Send, protocol: str) -> None:
    await receive()  # websocket.connect
    await send({"type": "websocket.accept", "subprotocol": protocol or None})


async def messages(receive: Receive) -> AsyncIterator[bytes | str]:
    """What the client sends, until it closes."""
    while (message := await receive())["type"] == "websocket.receive":
        data = message.get("bytes")
        yield data if data is not None else (message.get("text") or "")


async def close(send: Send, code: int = 1000) -> None:
    await send({"type": "websocket.close", "code": code})


class Channels:
    """Numbered channels over one accepted WebSocket."""

    def __init__(self, receive: Receive, send: Send, protocol: str) -> None:
        self._receive, self._send = receive, send
        self._base64 = "base64" in protocol

    async def read(self) -> AsyncIterator[tuple[int, bytes]]:
        """(channel, bytes). The protocol says how a message is written, not its frame: the official Python client sends
        text frames on the binary protocols. An empty message, and what is no base64, is skipped."""
        async for message in messages(self._receive):
            decoded = _decode(message, base64_=self._base64)
            if decoded is not None:
                yield decoded

    async def write(self, channel: int, data: bytes) -> None:
        if self._base64:
            text = f"{channel}{base64.b64encode(data).decode('ascii')}"
            await self._send({"type": "websocket.send", "text": text})
        else:
            await self._send({"type": "websocket.send", "bytes": bytes((channel,)) + data})

    async def close(self) -> None:
        await close(self._send)


def _decode(message: bytes | str, *, base64_: bool) -> tuple[int, bytes] | None:
    data = message.encode() if isinstance(message, str) else message
    if not base64_:
        return (data[0], data[1:]) if data else None
    try:
        return (int(data[:1]), base64.b64decode(data[1:])) if data[:1].isdigit() else None
    except binascii.Error:
        return None


class WebSocketTerminal:
    """A ``TerminalSide`` over the channel protocols."""

    def __init__(self, channels: Channels, protocol: str, options: TerminalOptions) -> None:
        self._channels, self._protocol, self._options = channels, protocol, options

    async def greet(self) -> None:
        """An empty message on the first channel: older clients wait for it."""
        first = STDOUT if self._options.stdout else STDERR if self._options.stderr else ERROR
        await self._channels.write(first, b"")

    async def inputs(self) -> AsyncIterator[pb.TerminalInput]:
        async for channel, data in self._channels.read():
            if channel == STDIN and self._options.stdin:
                yield pb.TerminalInput(stdin=data)
            elif channel == CLOSE and data[:1] == bytes((STDIN,)) and self._protocol == V5:
                yield pb.TerminalInput(close_stdin=True)
            elif channel == RESIZE and self._options.tty and (size := parse_size(data)) is not None:
                yield pb.TerminalInput(resize=size)

    async def output(self, stderr: bool, data: bytes) -> None:
        await self._channels.write(STDERR if stderr else STDOUT, data)

    async def finish(self, status: dict[str, Any]) -> None:
        failed = status.get("status") != "Success"
        if self._protocol in (V5, V4, V4_BASE64):
            await self._channels.write(ERROR, orjson.dumps(status))
        elif failed:
            await self._channels.write(ERROR, str(status.get("message", "")).encode())
        await self._channels.close()


def parse_size(data: bytes) -> pb.TerminalSize | None:
    """A resize message, or None for what is none: a terminal's size is not worth ending a session over."""
    try:
        size = orjson.loads(data)
        return pb.TerminalSize(width=int(size["Width"]), height=int(size["Height"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
