"""One stream of a SPDY connection: two independent directions, each ended on its own."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Protocol

from . import frames
from .errors import ConnectionClosed, SpdyError, StreamReset

BUFFER_BYTES = 256 * 1024
"""Unread bytes a stream holds before the connection stops reading from the peer."""


class _Connection(Protocol):
    async def send(self, frame: frames.Frame) -> None: ...

    def forget(self, stream: "Stream") -> None: ...


class Stream:
    """Made by ``Connection.open_stream`` and ``Connection.accept``.

    ``headers`` are those of who opened it, ``reply_headers`` those of the answer; names are lower-case.
    """

    def __init__(
        self,
        connection: _Connection,
        stream_id: int,
        headers: Mapping[str, str],
        *,
        replied: bool = False,
        read_closed: bool = False,
        write_closed: bool = False,
    ) -> None:
        self.id, self.headers = stream_id, {name.lower(): value for name, value in headers.items()}
        self.reply_headers: dict[str, str] = {}
        self._connection = connection
        self._buffer = bytearray()
        # Set once, by whatever ends the stream early; reads see it after the bytes that came before.
        self._error: SpdyError | None = None
        self._replied, self._read_closed, self._write_closed = replied, read_closed, write_closed
        self._wake: set[asyncio.Future[None]] = set()

    async def read(self, limit: int = 64 * 1024) -> bytes:
        """Up to ``limit`` bytes, at least one; b"" when the peer has ended its side.

        Raises StreamReset or ConnectionClosed, after what arrived before.
        """
        while not self._buffer:
            if self._read_closed:  # the peer's end came first: a connection lost after it changes nothing
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()
        data = bytes(self._buffer[:limit])
        del self._buffer[: len(data)]
        self._notify()
        return data

    async def read_all(self, limit: int = 1024 * 1024) -> bytes:
        """Everything until the peer ends its side, cut at ``limit`` bytes."""
        parts = bytearray()
        while data := await self.read():
            parts += data[: limit - len(parts)]
        return bytes(parts)

    async def write(self, data: bytes) -> None:
        """Send ``data``, wait for room for more. Raises StreamReset, ConnectionClosed, or ValueError once closed."""
        if self._write_closed:
            raise ValueError("the stream was closed for writing")
        for start in range(0, len(data), frames.MAX_DATA_BYTES):
            if self._error is not None:
                raise self._error
            await self._connection.send(frames.Data(self.id, data[start : start + frames.MAX_DATA_BYTES]))

    async def close_write(self) -> None:
        """End this side; reading goes on. Idempotent, also after a reset."""
        if self._write_closed or self._error is not None:
            return
        self._write_closed = True
        self._forget_if_done()
        with contextlib.suppress(ConnectionClosed):
            await self._connection.send(frames.Data(self.id, fin=True))

    async def reset(self, status: int = frames.CANCEL) -> None:
        """End both sides at once and drop what was not read. Idempotent."""
        if self._error is None:
            self._buffer.clear()
            done = self._read_closed and self._write_closed
            self.on_reset(status)
            if not done:
                with contextlib.suppress(ConnectionClosed):
                    await self._connection.send(frames.RstStream(self.id, status))

    async def wait_replied(self) -> None:
        """For the connection: until the peer has answered the opening. Raises as ``read`` does."""
        while not self._replied:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def on_data(self, data: bytes, fin: bool) -> None:
        """For the connection: bytes from the peer. Returns when there is room for more: the back-pressure."""
        if self._error is not None or self._read_closed:
            return
        self._buffer += data
        self._read_closed = fin
        self._forget_if_done()
        self._notify()
        while len(self._buffer) >= BUFFER_BYTES and self._error is None:
            await self._wait()

    def on_reply(self, headers: Mapping[str, str], fin: bool) -> None:
        self.reply_headers |= headers
        self._replied = True
        self._read_closed = self._read_closed or fin
        self._forget_if_done()
        self._notify()

    def on_reset(self, status: int) -> None:
        self._fail(StreamReset(status))

    def on_lost(self) -> None:
        self._fail(ConnectionClosed("the connection was lost"))

    def _fail(self, error: SpdyError) -> None:
        if self._error is None:
            self._error = error
            self._connection.forget(self)
            self._notify()

    def _forget_if_done(self) -> None:
        if self._read_closed and self._write_closed:
            self._connection.forget(self)

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wake.add(waiter)
        try:
            await waiter
        finally:
            self._wake.discard(waiter)

    def _notify(self) -> None:
        for waiter in self._wake:
            if not waiter.done():
                waiter.set_result(None)
