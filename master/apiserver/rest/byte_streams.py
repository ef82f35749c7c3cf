"""Byte streams for SPDY out of what ASGI has: messages of a WebSocket, or a connection that was taken over."""

import asyncio
from collections.abc import AsyncIterator

from starlette.types import Receive, Scope, Send

from .peer import peer_of
from .websocket import close, messages

_LIMIT_BYTES = 256 * 1024


class WebSocketBytes:
    """Reader and writer of the bytes inside a WebSocket's binary messages: kubectl's tunnel (KEP-4006)."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._messages: AsyncIterator[bytes | str] = messages(receive)
        self._send = send
        self._rest = b""
        self._out: list[bytes] = []
        self._closing: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()

    async def read(self, n: int = -1, /) -> bytes:
        while not self._rest:
            message = await anext(self._messages, None)
            if message is None:
                return b""
            self._rest = message if isinstance(message, bytes) else message.encode()
        size = n if n > 0 else len(self._rest)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def write(self, data: bytes, /) -> None:
        self._out.append(data)

    async def drain(self) -> None:
        # The lock keeps the order: who comes second waits until what he wrote, too, has been sent.
        async with self._sending:
            if self._out:
                data, self._out = b"".join(self._out), []
                await self._send({"type": "websocket.send", "bytes": data})

    def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="websocket-close")

    async def _close(self) -> None:
        try:
            await close(self._send)
        except OSError:
            return


def take_over(scope: Scope) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The raw connection under an HTTP request that asked for an upgrade; the HTTP server is out of it from here."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LIMIT_BYTES, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = peer_of(scope).hijack(protocol)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
