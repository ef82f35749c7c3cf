"""Streams over one SPDY/3.1 connection, for either side.

    async with Connection(reader, writer, Role.CLIENT) as connection:
        stream = await connection.open_stream({"streamtype": "stdin"})
        await stream.write(b"hello")
        await stream.close_write()
        answer = await stream.read()

    async with Connection(reader, writer, Role.SERVER) as connection:
        while (stream := await connection.accept()) is not None: ...

Memory is bounded: a stream holds at most ``BUFFER_BYTES`` that nobody has read; then nothing more is read from the
peer until somebody does. Like the Go implementation that every Kubernetes client and runtime uses, this one does
without SPDY's flow-control windows, so one unread stream holds up the others of its connection: read every stream,
or reset it.
"""

import asyncio
import contextlib
import enum
import itertools
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Protocol, Self

from . import frames
from .errors import ConnectionClosed, ProtocolError, SpdyError
from .stream import BUFFER_BYTES, Stream

MAX_STREAMS = 1024
"""Streams a peer may have open at once; more are refused, as are more that nobody accepts."""
_READ_BYTES = 64 * 1024
_CLOSE_SECONDS = 5.0

__all__ = ["BUFFER_BYTES", "ByteReader", "ByteWriter", "Connection", "Role", "Stream"]


class ByteReader(Protocol):
    """What ``asyncio.StreamReader`` is. b"" means that the peer has closed."""

    async def read(self, n: int = -1, /) -> bytes: ...


class ByteWriter(Protocol):
    """What ``asyncio.StreamWriter`` is: ``write`` keeps order and never blocks, ``drain`` waits for room."""

    def write(self, data: bytes, /) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...


class Role(enum.IntEnum):
    """Which side opens streams with odd numbers (client) or even ones. The value is the first number."""

    CLIENT = 1
    SERVER = 2


class Connection:
    """All streams of one connection. Use it as an async context manager: leaving it closes the connection."""

    def __init__(self, reader: ByteReader, writer: ByteWriter, role: Role) -> None:
        self._reader, self._writer, self._role = reader, writer, role
        self._encoder, self._decoder = frames.FrameEncoder(), frames.FrameDecoder()
        self._ids: Iterator[int] = itertools.count(int(role), 2)
        self._ping_ids: Iterator[int] = itertools.count(int(role), 2)
        self._streams: dict[int, Stream] = {}
        self._pings: dict[int, asyncio.Future[None]] = {}
        # None is the end: the connection is closed and no further stream comes.
        self._incoming: asyncio.Queue[Stream | None] = asyncio.Queue()
        self._last_peer_id = 0
        self._closed = asyncio.Event()
        self._going_away = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="spdy-connection")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open_stream(self, headers: Mapping[str, str], *, fin: bool = False) -> Stream:
        """Open a stream and wait for the peer's reply. ``fin``: this side will send nothing on it.

        Raises StreamReset if the peer refuses it, ConnectionClosed if the connection ends first.
        """
        if self._going_away or self._closed.is_set():
            raise ConnectionClosed("the connection is closed")
        stream = Stream(self, next(self._ids), headers, write_closed=fin)
        self._streams[stream.id] = stream
        await self.send(frames.SynStream(stream.id, headers, fin))
        await stream.wait_replied()
        return stream

    async def accept(self) -> Stream | None:
        """The next stream that the peer has opened, already replied to; None when the connection has ended."""
        stream = await self._incoming.get()
        if stream is None:
            self._incoming.put_nowait(None)
            return None
        with contextlib.suppress(ConnectionClosed):
            await self.send(frames.SynReply(stream.id))
        return stream

    async def ping(self) -> None:
        """Return when the peer has answered. Raises ConnectionClosed if it never will."""
        ping_id = next(self._ping_ids)
        answered = self._pings[ping_id] = asyncio.get_running_loop().create_future()
        try:
            await self.send(frames.Ping(ping_id))
            await answered
        finally:
            self._pings.pop(ping_id, None)

    async def wait_closed(self) -> None:
        await self._closed.wait()

    async def close(self) -> None:
        """Say goodbye and end the connection and every stream that is still open. Idempotent."""
        if not self._closed.is_set():
            with contextlib.suppress(SpdyError, OSError, TimeoutError):
                await asyncio.wait_for(self.send(frames.GoAway(self._last_peer_id)), _CLOSE_SECONDS)
            self._end()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def send(self, frame: frames.Frame) -> None:
        """For streams: put a frame on the wire and wait until there is room for more."""
        if self._closed.is_set():
            raise ConnectionClosed("the connection is closed")
        self._writer.write(self._encoder.encode(frame))
        try:
            await self._writer.drain()
        except OSError as error:
            raise ConnectionClosed(str(error)) from error

    def forget(self, stream: Stream) -> None:
        """For streams: it has ended on both sides."""
        self._streams.pop(stream.id, None)

    async def _run(self) -> None:
        try:
            while data := await self._reader.read(_READ_BYTES):
                for frame in self._decoder.feed(data):
                    await self._handle(frame)
        except (ProtocolError, ConnectionClosed, OSError):
            # The peer is gone or cannot be understood: every stream and caller learns it from _end.
            return
        finally:
            self._end()

    def _end(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        for stream in list(self._streams.values()):
            stream.on_lost()
        self._streams.clear()
        for ping in self._pings.values():
            if not ping.done():
                ping.set_exception(ConnectionClosed("the connection is closed"))
        self._incoming.put_nowait(None)
        self._writer.close()

    async def _handle(self, frame: frames.Frame) -> None:
        match frame:
            case frames.Data(stream_id, data, fin):
                await self._on_data(stream_id, data, fin)
            case frames.SynStream():
                await self._on_syn(frame)
            case frames.SynReply(stream_id, headers, fin) | frames.Headers(stream_id, headers, fin):
                if (stream := self._streams.get(stream_id)) is not None:
                    stream.on_reply(headers, fin)
            case frames.RstStream(stream_id, status):
                if (stream := self._streams.get(stream_id)) is not None:
                    stream.on_reset(status)
            case frames.Ping(ping_id):
                await self._on_ping(ping_id)
            case frames.GoAway():
                # Streams that exist go on; opening another one fails from now on.
                self._going_away = True

    async def _on_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            await stream.on_data(data, fin)

    async def _on_syn(self, frame: frames.SynStream) -> None:
        if frame.stream_id % 2 == self._role % 2 or frame.stream_id <= self._last_peer_id:
            raise ProtocolError(f"stream {frame.stream_id} is not the peer's next one")
        self._last_peer_id = frame.stream_id
        if len(self._streams) >= MAX_STREAMS:
            await self.send(frames.RstStream(frame.stream_id, frames.REFUSED_STREAM))
            return
        stream = Stream(self, frame.stream_id, frame.headers, replied=True, read_closed=frame.fin)
        self._streams[stream.id] = stream
        self._incoming.put_nowait(stream)

    async def _on_ping(self, ping_id: int) -> None:
        if ping_id % 2 != self._role % 2:
            await self.send(frames.Ping(ping_id))
        elif (answered := self._pings.get(ping_id)) is not None and not answered.done():
            answered.set_result(None)
