"""Messages to dicts, by the table. A message's plan is made when it is first met."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import orjson

from apimachinery.protobuf.wire import BYTES, VARINT, WireError, double, fields, signed, varint

Value = Any
MAGIC = b"k8s\0"
_ABSENT = object()
_META = "meta/v1."


class Field(NamedTuple):
    """Where a field of a message goes. ``read`` takes a varint's number or the bytes of anything else."""

    name: str
    read: Callable[[Any], Value]
    wire: int
    many: bool
    inline: bool
    skip_zero: bool
    map: bool


@cache
def _facts() -> dict[str, Any]:
    loaded: dict[str, Any] = orjson.loads((files("apimachinery.protobuf") / "facts.json").read_bytes())
    return loaded


def message_of(api_version: str, kind: str) -> str | None:
    """The message of a kind; options (DeleteOptions...) are the same in every group."""
    known = _facts()
    found: str | None = known["kinds"].get(f"{api_version} {kind}")
    return found or (f"{_META}{kind}" if kind.endswith("Options") and f"{_META}{kind}" in known["messages"] else None)


@cache
def _plan(message: str) -> dict[int, Field]:
    return {int(n): _field(*fact) for n, fact in _facts()["messages"][message].items()}


def _field(name: str, kind: str, flags: str) -> Field:
    is_map = kind.startswith("map ")
    read, wire = (_map_entry(kind.removeprefix("map ")), BYTES) if is_map else _reader(kind)
    return Field(name, read, wire, "l" in flags, "i" in flags, "z" in flags, is_map)


def _reader(kind: str) -> tuple[Callable[[Any], Value], int]:
    if kind in _SCALARS:
        return _SCALARS[kind]
    if kind in _SPECIAL:
        return _SPECIAL[kind], BYTES
    if kind.endswith(".ExtraValue"):
        return _items, BYTES
    return (lambda data: decode_message(kind, data)), BYTES


def _map_entry(kind: str) -> Callable[[bytes], tuple[str, Value]]:
    read, _ = _reader(kind)

    def entry(data: bytes) -> tuple[str, Value]:
        key, value = "", b""
        for number, _, found in fields(data):
            if number == 1 and isinstance(found, bytes):
                key = found.decode()
            elif number == 2 and isinstance(found, bytes):
                value = found
        return key, read(value)

    return entry


def decode_message(message: str, data: bytes, *, raw: bool = False) -> dict[str, Value]:
    """One message. ``raw`` leaves bytes fields as they are instead of in base64."""
    plan = _plan(message)
    out: dict[str, Value] = {}
    for number, wire, value in fields(data):
        field = plan.get(number)
        if field is None:
            continue
        if wire != field.wire:
            _packed(field, wire, value, out)
            continue
        made: Value = value if raw and field.read is _base64 else field.read(value)
        if made is _ABSENT or (field.skip_zero and not made):
            continue
        if field.many:
            out.setdefault(field.name, []).append(made)
        elif field.map:
            out.setdefault(field.name, {})[made[0]] = made[1]
        elif field.inline:
            out.update(made)
        else:
            out[field.name] = made
    return out


def _packed(field: Field, wire: int, value: int | bytes, out: dict[str, Value]) -> None:
    """A list of numbers in one run: proto2 allows both ways."""
    if not (field.many and field.wire == VARINT and wire == BYTES and isinstance(value, bytes)):
        raise WireError(f"field {field.name} has wire type {wire}")
    position = 0
    numbers = out.setdefault(field.name, [])
    while position < len(value):
        number, position = varint(value, position)
        numbers.append(field.read(number))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


_SCALARS: dict[str, tuple[Callable[[Any], Value], int]] = {
    "string": (bytes.decode, BYTES),
    "bytes": (_base64, BYTES),
    "bool": (bool, VARINT),
    "int32": (signed, VARINT),
    "int64": (signed, VARINT),
    "float64": (double, 1),
}


def _numbers(data: bytes) -> dict[int, int | bytes]:
    return {number: value for number, _, value in fields(data)}


def _timestamp(data: bytes) -> tuple[int, int]:
    found = _numbers(data)
    seconds, nanos = found.get(1, 0), found.get(2, 0)
    if not isinstance(seconds, int) or not isinstance(nanos, int):
        raise WireError("a time is two numbers")
    return signed(seconds), signed(nanos)


def _time(data: bytes) -> Value:
    seconds, nanos = _timestamp(data)
    return _ABSENT if (seconds, nanos) == (0, 0) else _utc(seconds) + "Z"


def _micro_time(data: bytes) -> Value:
    seconds, nanos = _timestamp(data)
    if (seconds, nanos) == (0, 0):
        return _ABSENT
    return _utc(seconds) + f".{nanos // 1000:06d}Z"


def _utc(seconds: int) -> str:
    """To the second, without a zone; the platform does not pad early years."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    except (OverflowError, OSError, ValueError) as e:
        raise WireError(f"time {seconds} is out of range") from e


def _quantity(data: bytes) -> str:
    found = _numbers(data).get(1, b"")
    return (found.decode() if isinstance(found, bytes) else "") or "0"


def _int_or_string(data: bytes) -> int | str:
    found = _numbers(data)
    text, number = found.get(3, b""), found.get(2, 0)
    if found.get(1, 0) == 1:
        return text.decode() if isinstance(text, bytes) else ""
    return signed(number) if isinstance(number, int) else 0


def _raw_json(data: bytes) -> Value:
    raw = _numbers(data).get(1, b"")
    if not isinstance(raw, bytes) or not raw:
        return _ABSENT
    if raw.startswith(MAGIC):
        raise WireError("an object embedded as protobuf is not supported")
    return orjson.loads(raw)


_PROPS = "apiextensions/v1.JSONSchemaProps"


def _props_or_bool(data: bytes) -> Value:
    found = _numbers(data)
    schema = found.get(2)
    return decode_message(_PROPS, schema) if isinstance(schema, bytes) else bool(found.get(1, 0))


def _props_or_array(data: bytes) -> Value:
    several = [v for n, _, v in fields(data) if n == 2 and isinstance(v, bytes)]
    if several:
        return [decode_message(_PROPS, v) for v in several]
    schema = _numbers(data).get(1)
    return decode_message(_PROPS, schema) if isinstance(schema, bytes) else _ABSENT


def _props_or_strings(data: bytes) -> Value:
    strings = [v.decode() for n, _, v in fields(data) if n == 2 and isinstance(v, bytes)]
    schema = _numbers(data).get(1)
    return strings or (decode_message(_PROPS, schema) if isinstance(schema, bytes) else _ABSENT)


def _items(data: bytes) -> list[str]:
    return [v.decode() for n, _, v in fields(data) if n == 1 and isinstance(v, bytes)]


_SPECIAL: dict[str, Callable[[bytes], Value]] = {
    "meta/v1.Time": _time,
    "meta/v1.MicroTime": _micro_time,
    "meta/v1.FieldsV1": _raw_json,
    "meta/v1.Verbs": _items,
    "resource.Quantity": _quantity,
    "runtime.RawExtension": _raw_json,
    "util/intstr.IntOrString": _int_or_string,
    "apiextensions/v1.JSON": _raw_json,
    "apiextensions/v1.JSONSchemaPropsOrBool": _props_or_bool,
    "apiextensions/v1.JSONSchemaPropsOrArray": _props_or_array,
    "apiextensions/v1.JSONSchemaPropsOrStringArray": _props_or_strings,
}
