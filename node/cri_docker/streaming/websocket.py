"""The server's side of one WebSocket (RFC 6455) on a connection whose request was read already."""

import asyncio
from collections.abc import Sequence

from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from apimachinery.spdy.upgrade import Head

_MESSAGE_LIMIT = 4 * 1024 * 1024


class WebSocket:
    """Messages over a connection. ``subprotocol`` is what was agreed on, "" for none."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: ServerProtocol) -> None:
        self._reader, self._writer, self._protocol = reader, writer, protocol
        self._events: list[Frame] = []
        self.subprotocol: str = protocol.subprotocol or ""

    async def receive(self) -> bytes | None:
        """The next message's bytes; None when the peer has closed or is gone."""
        message = b""
        while (frame := await self._frame()) is not None:
            if frame.opcode in (Opcode.BINARY, Opcode.TEXT, Opcode.CONT):
                message += bytes(frame.data)
                if len(message) > _MESSAGE_LIMIT:
                    return None
                if frame.fin:
                    return message
        return None

    async def send(self, data: bytes) -> None:
        """Send one binary message. Raises ConnectionError when the peer is gone."""
        if self._writer.is_closing() or self._protocol.close_sent is not None:
            raise ConnectionResetError("the WebSocket is closed")
        self._protocol.send_binary(data)
        await self._flush()

    async def close(self, code: int = 1000) -> None:
        """Say goodbye; the connection itself is its owner's."""
        if self._protocol.close_sent is None and not self._writer.is_closing():
            self._protocol.send_close(code)
            await self._flush()

    async def _frame(self) -> Frame | None:
        while not self._events:
            data = await self._reader.read(1 << 16)
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            await self._flush()  # pongs, and the answer to a close
            self._events += [event for event in self._protocol.events_received() if isinstance(event, Frame)]
            if not data and not self._events:
                return None
        frame = self._events.pop(0)
        return None if frame.opcode is Opcode.CLOSE else frame

    async def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._writer.write(data)
        await self._writer.drain()


def is_websocket(head: Head) -> bool:
    return "websocket" in [value.lower() for value in head.values("upgrade")]


async def accept(
    head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, subprotocols: Sequence[str]
) -> WebSocket:
    """Answer the handshake. Raises ConnectionError after having refused a request that is none."""
    offered = head.values("sec-websocket-protocol")
    protocol = ServerProtocol(
        subprotocols=[Subprotocol(name) for name in subprotocols] if offered else None, max_size=_MESSAGE_LIMIT
    )
    lines = [f"{name}: {value}" for name, value in head.headers]
    protocol.receive_data("\r\n".join([f"GET {head.first[1]} HTTP/1.1", *lines, "", ""]).encode("latin-1"))
    request = next((event for event in protocol.events_received() if isinstance(event, Request)), None)
    if request is None:
        raise ConnectionAbortedError("no WebSocket handshake")
    protocol.send_response(protocol.accept(request))
    socket = WebSocket(reader, writer, protocol)
    await socket._flush()
    if isinstance(protocol.handshake_exc, InvalidHandshake):
        raise ConnectionAbortedError(str(protocol.handshake_exc))
    return socket
