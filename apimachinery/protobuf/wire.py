"""The protobuf wire format: tags, varints, and the bounds of what is length-delimited.

Source: https://protobuf.dev/programming-guides/encoding/
"""

import struct
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are no protobuf message."""


def varint(data: bytes, position: int) -> tuple[int, int]:
    """An unsigned number and the position behind it."""
    value = shift = 0
    try:
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, position
            shift += 7
            if shift > 63:
                raise WireError("varint is too long")
    except IndexError as e:
        raise WireError("unexpected EOF") from e


def encode_varint(value: int) -> bytes:
    """An unsigned number as it travels."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Each field as (number, wire type, value); a fixed value comes as its raw bytes."""
    position, end = 0, len(data)
    while position < end:
        tag, position = varint(data, position)
        wire = tag & 7
        if wire == VARINT:
            value, position = varint(data, position)
            yield tag >> 3, wire, value
            continue
        if wire == BYTES:
            length, position = varint(data, position)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise WireError(f"wire type {wire} is not supported")
        if position + length > end:
            raise WireError("unexpected EOF")
        yield tag >> 3, wire, data[position : position + length]
        position += length


def signed(value: int) -> int:
    """Two's complement: how int32 and int64 travel."""
    return value - (1 << 64) if value >> 63 else value


def double(raw: bytes) -> float:
    if len(raw) != 8:
        raise WireError("a double has eight bytes")
    return float(struct.unpack("<d", raw)[0])
