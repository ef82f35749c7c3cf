"""The streams of one exec or attach, whichever protocol carries them.

Sources: ``k8s.io/apimachinery/pkg/util/remotecommand`` (sub-protocols v1 to v5) and
``k8s.io/kubelet/pkg/cri/streaming/remotecommand``.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import orjson

from apimachinery import spdy
from node.cri_docker.streaming.websocket import WebSocket

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
_CLOSE = 255
SPDY_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
WEBSOCKET_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io")
_NAMES = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": ERROR, "resize": RESIZE}
_STREAMS_SECONDS = 30.0
_BACKLOG = 16
Status = Mapping[str, Any]


class Channels(Protocol):
    def stdin(self) -> AsyncIterator[bytes]:
        """To the client's half-close."""

    def sizes(self) -> AsyncIterator[tuple[int, int]]:
        """(width, height) of the client's terminal, each time it changes."""

    async def write(self, channel: int, data: bytes) -> None:
        """STDOUT or STDERR. Raises ConnectionError or SpdyError when the client is gone."""

    async def finish(self, status: Status) -> None:
        """Tell how it ended and close."""

    async def lost(self) -> None:
        """Return when the client has gone."""


class SpdyChannels:
    def __init__(self, connection: spdy.Connection, protocol: str) -> None:
        self._connection, self._protocol = connection, protocol
        self._streams: dict[int, spdy.Stream] = {}

    async def gather(self, wanted: set[int]) -> None:
        """Wait until the client has opened the streams it announced. Raises TimeoutError, ConnectionError."""
        async with asyncio.timeout(_STREAMS_SECONDS):
            while wanted - self._streams.keys():
                stream = await self._connection.accept()
                if stream is None:
                    raise ConnectionResetError("the client left before all streams were open")
                kind = _NAMES.get(stream.headers.get("streamtype", ""))
                if kind is None or kind in self._streams:
                    await stream.reset()
                else:
                    self._streams[kind] = stream

    async def stdin(self) -> AsyncIterator[bytes]:
        stream = self._streams.get(STDIN)
        try:
            while stream and (data := await stream.read()):
                yield data
        except spdy.SpdyError:
            return

    async def sizes(self) -> AsyncIterator[tuple[int, int]]:
        stream, buffer = self._streams.get(RESIZE), b""
        try:
            while stream and (data := await stream.read()):
                buffer += data
                while (end := buffer.find(b"}")) >= 0:
                    message, buffer = buffer[: end + 1], buffer[end + 1 :]
                    if size := _size(message):
                        yield size
        except spdy.SpdyError:
            return

    async def write(self, channel: int, data: bytes) -> None:
        if stream := self._streams.get(channel):
            await stream.write(data)

    async def finish(self, status: Status) -> None:
        if error := self._streams.get(ERROR):
            if self._protocol == SPDY_PROTOCOLS[0]:
                await error.write(orjson.dumps(status))
            elif status["status"] != "Success":
                await error.write(status["message"].encode())
        for kind, stream in self._streams.items():
            if kind != STDIN:
                await stream.close_write()

    async def lost(self) -> None:
        await self._connection.wait_closed()


class WebSocketChannels:
    def __init__(self, socket: WebSocket, wanted: set[int]) -> None:
        self._socket, self._wanted = socket, wanted
        self._gone = asyncio.Event()
        self._queues: dict[int, asyncio.Queue[bytes | None]] = {
            STDIN: asyncio.Queue(_BACKLOG),
            RESIZE: asyncio.Queue(_BACKLOG),
        }

    async def greet(self) -> None:
        """An empty message on the first output tells the client that all is ready, as upstream does."""
        first = next((channel for channel in (STDOUT, STDERR) if channel in self._wanted), ERROR)
        await self._socket.send(bytes([first]))

    async def receive(self) -> None:
        """Deal the client's messages out, until it is gone."""
        try:
            while (message := await self._socket.receive()) is not None:
                if not message:
                    continue
                channel, data = message[0], message[1:]
                if channel == _CLOSE and data and data[0] in self._queues:
                    await self._queues[data[0]].put(None)
                elif channel in self._queues and channel in self._wanted and data:
                    await self._queues[channel].put(data)
        except ConnectionError:
            return
        finally:
            self._gone.set()

    async def stdin(self) -> AsyncIterator[bytes]:
        if STDIN in self._wanted:
            while (data := await self._queues[STDIN].get()) is not None:
                yield data

    async def sizes(self) -> AsyncIterator[tuple[int, int]]:
        while (message := await self._queues[RESIZE].get()) is not None:
            if size := _size(message):
                yield size

    async def write(self, channel: int, data: bytes) -> None:
        if channel in self._wanted:
            await self._socket.send(bytes([channel]) + data)

    async def finish(self, status: Status) -> None:
        if self._socket.subprotocol in WEBSOCKET_PROTOCOLS[:2]:
            await self._socket.send(bytes([ERROR]) + orjson.dumps(status))
        elif status["status"] != "Success":
            await self._socket.send(bytes([ERROR]) + status["message"].encode())
        await self._socket.close()

    async def lost(self) -> None:
        await self._gone.wait()


def success() -> Status:
    return {"metadata": {}, "status": "Success"}


def exited(code: int) -> Status:
    """How a command ended: kubectl takes its own exit code from here."""
    if code == 0:
        return success()
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failed(message: str) -> Status:
    return {"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500}


def _size(message: bytes) -> tuple[int, int] | None:
    try:
        size = orjson.loads(message)
        return int(size["Width"]), int(size["Height"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
