"""gRPC calls to etcd on the event loop's own sockets: the few frames of HTTP/2 that they need.

Every write and every consistent read asks etcd. grpc.aio drives its sockets from a thread of its own, which costs a
hand-over in each direction: 210 µs of CPU for a call that takes 40 µs here. Messages are protobuf's; requests' headers
are the same bytes each time; responses' headers come without compression state (the table's size is set to 0), so they
are decoded once for each text.

Source: RFC 9113 (HTTP/2), RFC 7541 (HPACK), ``PROTOCOL-HTTP2.md`` of gRPC.
"""

import asyncio
import ssl
import struct
from functools import lru_cache
from urllib.parse import unquote

import hpack

from .calls import Call, CallFailed, ConnectionLost

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_CANCEL = struct.pack(">I", 8)
_FRAME = struct.Struct(">HBBBI")
_SETTING = struct.Struct(">HI")
_TABLE_SIZE, _NO_PUSH, _STREAM_WINDOW, _FRAME_SIZE = 1, 2, 4, 5
_WINDOW_SIZE = (1 << 30) - 1
_GROW_AFTER = _WINDOW_SIZE // 4
_LARGEST_FRAME = (1 << 24) - 1
_DEFAULT_WINDOW = 65_535
KEEPALIVE_SECONDS, KEEPALIVE_TIMEOUT = 6.0, 3.0
"""A server that hangs is left after 9 s. etcd refuses pings within 5 s of each other, or while no call is open."""


class Connection(asyncio.Protocol):
    """One connection. ``closed`` once it cannot be used any more."""

    def __init__(self, authority: str, *, tls: bool) -> None:
        self.closed = False
        self._authority, self._scheme = authority, b"\x87" if tls else b"\x86"
        self._calls: dict[int, Call] = {}
        self._next = 1
        self._input = b""
        self._headers, self._ends = b"", False
        self._window = self._first_window = _DEFAULT_WINDOW
        self._frame_size = 16_384
        self._consumed = 0
        self._room: asyncio.Future[None] | None = None
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(cls, host: str, port: int, tls: ssl.SSLContext | None, timeout: float) -> "Connection":
        """Raises OSError, TimeoutError."""
        loop = asyncio.get_running_loop()
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            async with asyncio.timeout(timeout):
                _, made = await loop.create_connection(lambda: cls(name, tls=tls is not None), host, port, ssl=tls)
        except OSError as error:
            raise error.with_traceback(None)  # noqa: B904 - uvloop's frames hold the error: a circle
        return made

    # Calls.

    async def call(self, path: bytes, message: bytes, *, more: bool = False) -> Call:
        """Begin a call with its first message; ``more``: it is not the only one. Raises ConnectionLost."""
        if self.closed:
            raise ConnectionLost("the connection is closed")
        call = Call(self._next, self._first_window)
        self._next += 2
        self._calls[call.id] = call
        if len(self._calls) == 1:
            self._watch_silence()
        headers = _frame(_HEADERS, _END_HEADERS, call.id, _request(path, self._scheme, self._authority))
        body = b"\0" + len(message).to_bytes(4, "big") + message
        flags = 0 if more else _END_STREAM
        if len(body) <= min(self._window, call.window, self._frame_size):
            self._window -= len(body)
            call.window -= len(body)
            self._transport.write(headers + _frame(_DATA, flags, call.id, body))
        else:
            self._transport.write(headers)
            await self._send_slowly(call, body, flags)
        return call

    def cancel(self, call: Call) -> None:
        """End a call, if it has not ended. Safe to repeat."""
        if self._calls.pop(call.id, None) and not self.closed:
            self._transport.write(_frame(_RESET, 0, call.id, _CANCEL))

    def close(self) -> None:
        self._lose(ConnectionLost("closed"))

    async def _send_slowly(self, call: Call, body: bytes, flags: int) -> None:
        """As far as the server's windows allow at a time."""
        at = 0
        while at < len(body):
            size = min(len(body) - at, self._window, call.window, self._frame_size)
            if size <= 0:
                if self._room is None:
                    self._room = asyncio.get_running_loop().create_future()
                await asyncio.shield(self._room)
                if call.id not in self._calls:
                    return  # it has ended already, and knows how
                continue
            part = body[at : at + size]
            at += size
            self._window -= size
            call.window -= size
            self._transport.write(_frame(_DATA, flags if at == len(body) else 0, call.id, part))

    # The protocol.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        wanted = ((_TABLE_SIZE, 0), (_NO_PUSH, 0), (_STREAM_WINDOW, _WINDOW_SIZE), (_FRAME_SIZE, _LARGEST_FRAME))
        settings = b"".join(_SETTING.pack(*pair) for pair in wanted)
        grow = (_WINDOW_SIZE - _DEFAULT_WINDOW).to_bytes(4, "big")
        hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW, 0, 0, grow)
        transport.write(hello)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(ConnectionLost(str(exc) if exc else "the server closed the connection"))

    def _lose(self, why: ConnectionLost) -> None:
        if self.closed:
            return
        self.closed = True
        if self._timer:
            self._timer.cancel()
        self._transport.abort()
        for call in self._calls.values():
            call.end(why)
        self._calls.clear()
        self._give_room()

    def data_received(self, data: bytes) -> None:
        self._heard = asyncio.get_running_loop().time()
        data = self._input + data if self._input else data
        at = 0
        while len(data) - at >= 9:
            high, low, kind, flags, stream = _FRAME.unpack_from(data, at)
            size = high << 8 | low
            if len(data) - at - 9 < size:
                break
            self._frame(kind, flags, stream, data[at + 9 : at + 9 + size])
            at += 9 + size
        self._input = data[at:]

    def _frame(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == _DATA:
            self._take_data(flags, stream, body)
        elif kind in (_HEADERS, _CONTINUATION):
            self._take_headers(kind, flags, stream, body)
        elif kind == _SETTINGS and not flags & _ACK:
            self._take_settings(body)
        elif kind == _WINDOW:
            more = int.from_bytes(body, "big")
            if stream == 0:
                self._window += more
            elif call := self._calls.get(stream):
                call.window += more
            self._give_room()
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, body))
        elif kind == _RESET:
            self._end(stream, ConnectionLost(f"the server reset the call: {int.from_bytes(body, 'big')}"))
        elif kind == _GOAWAY:
            self._lose(ConnectionLost("the server goes away"))

    def _take_data(self, flags: int, stream: int, body: bytes) -> None:
        call = self._calls.get(stream)
        self._consumed += len(body)
        if call:
            call.take(body[1 : len(body) - body[0]] if flags & _PADDED else body)
            call.consumed += len(body)
            if call.consumed > _GROW_AFTER:
                self._transport.write(_frame(_WINDOW, 0, stream, call.consumed.to_bytes(4, "big")))
                call.consumed = 0
        if self._consumed > _GROW_AFTER:
            self._transport.write(_frame(_WINDOW, 0, 0, self._consumed.to_bytes(4, "big")))
            self._consumed = 0
        if flags & _END_STREAM:
            self._end(stream, ConnectionLost("the response ended without a status"))

    def _take_headers(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == _HEADERS:
            pad = body[0] if flags & _PADDED else 0
            skip = (1 if flags & _PADDED else 0) + (5 if flags & _PRIORITY else 0)
            self._headers, self._ends = body[skip : len(body) - pad], bool(flags & _END_STREAM)
        else:
            self._headers += body
        if flags & _END_HEADERS and self._ends:
            self._end(stream, _status(self._headers))
        elif flags & _END_HEADERS:
            _status(self._headers)  # nothing in it concerns us; a broken one does

    def _take_settings(self, body: bytes) -> None:
        for at in range(0, len(body) - 5, 6):
            name, value = _SETTING.unpack_from(body, at)
            if name == _STREAM_WINDOW:
                for call in self._calls.values():
                    call.window += value - self._first_window
                self._first_window = value
            elif name == _FRAME_SIZE:
                self._frame_size = value
        self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        self._give_room()

    def _end(self, stream: int, error: Exception | None) -> None:
        call = self._calls.pop(stream, None)
        if call:
            call.end(error)
            self._give_room()

    def _give_room(self) -> None:
        if self._room:
            self._room.set_result(None)
            self._room = None

    # A server that hangs.

    def _watch_silence(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer:
            self._timer.cancel()
        self._heard = loop.time()
        self._timer = loop.call_later(KEEPALIVE_SECONDS, self._ask_for_life)

    def _ask_for_life(self) -> None:
        loop = asyncio.get_running_loop()
        silent = loop.time() - self._heard
        if not self._calls:
            self._timer = None
        elif silent >= KEEPALIVE_SECONDS + KEEPALIVE_TIMEOUT - 0.1:
            self._lose(ConnectionLost("the server does not answer"))
        elif silent >= KEEPALIVE_SECONDS - 0.1:
            self._transport.write(_frame(_PING, 0, 0, b"kubeto  "))
            self._timer = loop.call_later(KEEPALIVE_TIMEOUT, self._ask_for_life)
        else:
            self._timer = loop.call_later(KEEPALIVE_SECONDS - silent, self._ask_for_life)


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    size = len(body)
    return _FRAME.pack(size >> 8, size & 0xFF, kind, flags, stream) + body


@lru_cache(maxsize=64)
def _request(path: bytes, scheme: bytes, authority: str) -> bytes:
    """A request's header block; no field of it goes into the server's table."""

    def text(value: bytes) -> bytes:
        return bytes([len(value)]) + value  # none is longer than 126 bytes

    fields = [b"\x83", scheme, b"\x04" + text(path), b"\x01" + text(authority.encode()[:126])]
    fields += [b"\x0f\x10" + text(b"application/grpc"), b"\x00" + text(b"te") + text(b"trailers")]
    return b"".join(fields)


@lru_cache(maxsize=256)
def _fields(block: bytes) -> dict[str, str]:
    decoder = hpack.Decoder()
    decoder.header_table_size = 0
    return {str(name): str(value) for name, value in decoder.decode(block)}


def _status(block: bytes) -> Exception | None:
    """How a call ended by its last headers; None is well."""
    try:
        fields = _fields(block)
    except hpack.HPACKError as error:
        return ConnectionLost(f"the server's headers cannot be read: {error}")
    if fields.get("grpc-status", "0" if ":status" in fields and fields[":status"] == "200" else "2") == "0":
        return None
    return CallFailed(int(fields.get("grpc-status", "2")), unquote(fields.get("grpc-message", "")))
