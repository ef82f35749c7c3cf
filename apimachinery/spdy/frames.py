"""SPDY/3.1 frames and their bytes. No I/O: ``FrameDecoder`` is fed what arrived and gives what is complete.

Data frames are handed on in pieces as they arrive, so that nobody has to hold a whole frame of 16 MiB.

Source: https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/ section 2
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .errors import ProtocolError
from .headers import HeaderDecoder, HeaderEncoder

VERSION = 3
FIN = 0x01
MAX_CONTROL_BYTES = 64 * 1024
MAX_DATA_BYTES = 32 * 1024
"""The largest data frame sent: what the Go implementation's copy loops send too."""

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9

# RST_STREAM status codes (section 2.6.3).
PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL = 1, 2, 3, 5


@dataclass(frozen=True, slots=True)
class SynStream:
    stream_id: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class SynReply:
    stream_id: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Headers:
    stream_id: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    stream_id: int
    data: bytes = b""
    fin: bool = False


@dataclass(frozen=True, slots=True)
class RstStream:
    stream_id: int
    status: int


@dataclass(frozen=True, slots=True)
class Ping:
    ping_id: int


@dataclass(frozen=True, slots=True)
class GoAway:
    last_stream_id: int
    status: int = 0


@dataclass(frozen=True, slots=True)
class Ignored:
    """A frame that asks for nothing: SETTINGS, WINDOW_UPDATE, or a type that this version does not know."""

    type: int


Frame = SynStream | SynReply | Headers | Data | RstStream | Ping | GoAway | Ignored


class FrameEncoder:
    """Turns frames into bytes. Its header compression makes the order of calls the order on the wire."""

    def __init__(self) -> None:
        self._headers = HeaderEncoder()

    def encode(self, frame: Frame) -> bytes:
        match frame:
            case Data(stream_id, data, fin):
                return struct.pack(">II", stream_id, (FIN if fin else 0) << 24 | len(data)) + data
            case SynStream(stream_id, headers, fin):
                head = struct.pack(">IIBB", stream_id, 0, 0, 0)
                return _control(SYN_STREAM, fin, head + self._headers.encode(headers))
            case SynReply(stream_id, headers, fin):
                return _control(SYN_REPLY, fin, struct.pack(">I", stream_id) + self._headers.encode(headers))
            case Headers(stream_id, headers, fin):
                return _control(HEADERS, fin, struct.pack(">I", stream_id) + self._headers.encode(headers))
            case RstStream(stream_id, status):
                return _control(RST_STREAM, False, struct.pack(">II", stream_id, status))
            case Ping(ping_id):
                return _control(PING, False, struct.pack(">I", ping_id))
            case GoAway(last, status):
                return _control(GOAWAY, False, struct.pack(">II", last, status))
        raise ValueError(f"cannot send {frame}")


def _control(kind: int, fin: bool, payload: bytes) -> bytes:
    return struct.pack(">HHI", 0x8000 | VERSION, kind, (FIN if fin else 0) << 24 | len(payload)) + payload


class FrameDecoder:
    """Frames from bytes as they arrive."""

    def __init__(self) -> None:
        self._headers = HeaderDecoder()
        self._buffer = bytearray()
        # The data frame whose payload is arriving: stream, bytes still to come, whether it ends the stream.
        self._data: tuple[int, int, bool] | None = None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that ``data`` completes. Raises ProtocolError; then the decoder is of no more use."""
        self._buffer += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        if self._data is None:
            if len(self._buffer) < 8:
                return None
            first, second = struct.unpack_from(">II", self._buffer)
            if first & 0x80000000:
                return self._control(first, second)
            del self._buffer[:8]
            self._data = first, second & 0xFFFFFF, bool(second >> 24 & FIN)
        return self._payload(*self._data)

    def _payload(self, stream_id: int, remaining: int, fin: bool) -> Frame | None:
        if remaining and not self._buffer:
            return None
        piece = bytes(self._buffer[:remaining])
        del self._buffer[: len(piece)]
        remaining -= len(piece)
        self._data = (stream_id, remaining, fin) if remaining else None
        return Data(stream_id, piece, fin and not remaining)

    def _control(self, first: int, second: int) -> Frame | None:
        version, kind, size = first >> 16 & 0x7FFF, first & 0xFFFF, second & 0xFFFFFF
        if version != VERSION:
            raise ProtocolError(f"SPDY version {version}")
        if size > MAX_CONTROL_BYTES:
            raise ProtocolError(f"control frame of {size} bytes")
        if len(self._buffer) < 8 + size:
            return None
        payload = bytes(self._buffer[8 : 8 + size])
        del self._buffer[: 8 + size]
        try:
            return self._decode(kind, bool(second >> 24 & FIN), payload)
        except struct.error as error:
            raise ProtocolError(f"control frame of type {kind} is too short") from error

    def _decode(self, kind: int, fin: bool, payload: bytes) -> Frame:
        match kind:
            case 1:
                stream_id, _, _, _ = struct.unpack_from(">IIBB", payload)
                return SynStream(stream_id & 0x7FFFFFFF, self._headers.decode(payload[10:]), fin)
            case 2 | 8:
                (stream_id,) = struct.unpack_from(">I", payload)
                reply = SynReply if kind == SYN_REPLY else Headers
                return reply(stream_id & 0x7FFFFFFF, self._headers.decode(payload[4:]), fin)
            case 3:
                stream_id, status = struct.unpack_from(">II", payload)
                return RstStream(stream_id & 0x7FFFFFFF, status)
            case 6:
                return Ping(struct.unpack_from(">I", payload)[0])
            case 7:
                return GoAway(*struct.unpack_from(">II", payload))
        return Ignored(kind)
