"""Port-forward: connections made inside a sandbox's network namespace, joined to a client's streams.

A thread enters the namespace, connects and leaves the socket to the event loop: nothing needs to be installed in
the pod or on the node. Sources: ``k8s.io/kubelet/pkg/cri/streaming/portforward``.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from apimachinery import spdy
from node import namespaces
from node.cri_docker.streaming.websocket import WebSocket

SPDY_PROTOCOLS = ("portforward.k8s.io",)
TUNNEL = "SPDY/3.1+portforward.k8s.io"
WEBSOCKET_PROTOCOLS = (TUNNEL, "v4.channel.k8s.io", "portforward.k8s.io")
_CONNECT_SECONDS = 10.0
_PAIR_SECONDS = 30.0
_PIECE = 1 << 15


async def connect(netns: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to ``localhost:port`` as the sandbox sees it. Raises OSError."""

    def dial() -> socket.socket:
        try:
            return socket.create_connection(("127.0.0.1", port), _CONNECT_SECONDS)
        except ConnectionRefusedError:
            return socket.create_connection(("::1", port), _CONNECT_SECONDS)

    connected = await namespaces.enter(netns, namespaces.NETWORK, dial)
    connected.setblocking(False)
    return await asyncio.open_connection(sock=connected)


async def serve_spdy(connection: spdy.Connection, netns: str) -> None:
    """Pairs of streams, an error and a data stream with the same request id, until the client is gone."""
    waiting: dict[str, spdy.Stream] = {}
    tasks: set[asyncio.Task[None]] = set()
    try:
        while (stream := await connection.accept()) is not None:
            request = stream.headers.get("requestid", stream.headers.get("port", ""))
            other = waiting.pop(request, None)
            if other is None:
                waiting[request] = stream
                work = _expire(waiting, request, stream)
            else:
                error, data = (stream, other) if stream.headers.get("streamtype") == "error" else (other, stream)
                work = _forward(data, error, netns)
            task = asyncio.create_task(work, name="port-forward")
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    finally:
        for task in tasks:
            task.cancel()


async def _expire(waiting: dict[str, spdy.Stream], request: str, stream: spdy.Stream) -> None:
    """A stream whose partner never comes is ended."""
    await asyncio.sleep(_PAIR_SECONDS)
    if waiting.get(request) is stream:
        del waiting[request]
        await stream.reset()


async def _forward(data: spdy.Stream, error: spdy.Stream, netns: str) -> None:
    port = data.headers.get("port", "")
    with suppress(spdy.SpdyError, ConnectionError):
        try:
            reader, writer = await connect(netns, int(port))
        except (OSError, ValueError) as problem:
            await error.write(f"error forwarding port {port} to the pod: {problem}".encode())
            await error.close_write()
            await data.reset()
            return
        upward = asyncio.create_task(_upstream(data.read, writer), name="port-forward")
        try:
            await _downstream(reader, data.write)
        finally:
            upward.cancel()
            writer.close()
            await data.close_write()
            await error.close_write()


async def _upstream(read: Callable[[int], Awaitable[bytes]], writer: asyncio.StreamWriter) -> None:
    """To the client's half-close. What comes downwards goes on, unless the client has given the stream up."""
    try:
        while part := await read(_PIECE):
            writer.write(part)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except (spdy.SpdyError, ConnectionError):
        writer.transport.abort()


async def _downstream(reader: asyncio.StreamReader, write: Callable[[bytes], Awaitable[None]]) -> None:
    while part := await reader.read(_PIECE):
        await write(part)


async def serve_websocket(websocket: WebSocket, netns: str, ports: Sequence[int]) -> None:
    """The older protocol: for each port a data and an error channel, each begun with the port's two bytes."""
    if websocket.subprotocol == TUNNEL:
        async with spdy.Connection(_Tunnel(websocket), _Tunnel(websocket), spdy.Role.SERVER) as connection:
            await serve_spdy(connection, netns)
        return
    writers: dict[int, asyncio.StreamWriter] = {}
    pumps: list[asyncio.Task[None]] = []
    try:
        for index, port in enumerate(ports):
            for channel in (2 * index, 2 * index + 1):
                await websocket.send(bytes([channel]) + port.to_bytes(2, "little"))
            await _open_channel(websocket, netns, 2 * index, port, writers, pumps)
        while (message := await websocket.receive()) is not None:
            if message and (target := writers.get(message[0])):
                target.write(message[1:])
                with suppress(ConnectionError):
                    await target.drain()
    finally:
        for pump in pumps:
            pump.cancel()
        for opened in writers.values():
            opened.close()


async def _open_channel(
    websocket: WebSocket,
    netns: str,
    channel: int,
    port: int,
    writers: dict[int, asyncio.StreamWriter],
    pumps: list[asyncio.Task[None]],
) -> None:
    try:
        reader, writers[channel] = await connect(netns, port)
    except OSError as problem:
        text = f"error forwarding port {port} to the pod: {problem}"
        await websocket.send(bytes([channel + 1]) + text.encode())
        return

    async def pump() -> None:
        async def write(part: bytes) -> None:
            await websocket.send(bytes([channel]) + part)

        with suppress(ConnectionError):
            await _downstream(reader, write)

    pumps.append(asyncio.create_task(pump(), name="port-forward"))


class _Tunnel:
    """The bytes of a SPDY connection within the messages of a WebSocket."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._rest = b""
        self._unsent: list[bytes] = []

    async def read(self, n: int = -1, /) -> bytes:
        while not self._rest:
            message = await self._websocket.receive()
            if message is None:
                return b""
            self._rest = message
        size = len(self._rest) if n < 0 else n
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def write(self, data: bytes, /) -> None:
        self._unsent.append(data)

    async def drain(self) -> None:
        unsent, self._unsent = b"".join(self._unsent), []
        if unsent:
            await self._websocket.send(unsent)

    def close(self) -> None:
        """The connection below belongs to the server, which closes it."""
