"""Bodies as Go's clients send them, protobuf, written from the table that drives the decoder.

As in Go, a field that is no pointer is written even when it is empty, and so are an object's spec and status.
"""

import base64
import json
import struct
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from apimachinery.protobuf.decoder import MAGIC, _facts, message_of
from apimachinery.protobuf.wire import encode_varint

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_PROPS = "apiextensions/v1.JSONSchemaProps"
_ZERO = {"string": "", "bytes": "", "bool": False, "int32": 0, "int64": 0}


def encode(obj: dict[str, Any]) -> bytes:
    """The whole body of a request."""
    message = message_of(obj["apiVersion"], obj["kind"])
    assert message, f"no protobuf message for {obj['kind']}"
    about = _bytes(1, obj["apiVersion"].encode()) + _bytes(2, obj["kind"].encode())
    return MAGIC + _bytes(1, about) + _bytes(2, _message(message, obj)) + _bytes(3, b"") + _bytes(4, b"")


def _message(name: str, value: dict[str, Any]) -> bytes:
    fields = sorted(_facts()["messages"][name].items(), key=lambda f: int(f[0]))
    return b"".join(_field(int(number), *fact, value) for number, fact in fields)


def _field(number: int, name: str, kind: str, flags: str, holder: dict[str, Any]) -> bytes:
    if "i" in flags:
        return _bytes(number, _message(kind, holder))
    value = holder.get(name)
    if value is None:
        if "l" in flags or kind.startswith("map "):
            return b""
        if "z" in flags and kind in _ZERO:
            return _one(number, kind, _ZERO[kind])
        return _bytes(number, b"") if name in ("metadata", "spec", "status") and "." in kind else b""
    if kind.startswith("map "):
        entries = [_bytes(1, k.encode()) + _one(2, kind[4:], v) for k, v in value.items()]
        return b"".join(_bytes(number, entry) for entry in entries)
    return b"".join(_one(number, kind, v) for v in (value if "l" in flags else [value]))


def _one(number: int, kind: str, value: Any) -> bytes:
    if kind in ("bool", "int32", "int64"):
        return encode_varint(number << 3) + encode_varint(int(value) & (1 << 64) - 1)
    if kind == "float64":
        return encode_varint(number << 3 | 1) + struct.pack("<d", value)
    return _bytes(number, _content(kind, value))


def _content(kind: str, value: Any) -> bytes:
    match kind:
        case "string":
            return str(value).encode()
        case "bytes":
            return base64.b64decode(value)
        case "resource.Quantity":
            return _bytes(1, str(value).encode())
        case "runtime.RawExtension" | "apiextensions/v1.JSON" | "meta/v1.FieldsV1":
            return _bytes(1, json.dumps(value).encode())
        case "meta/v1.Time" | "meta/v1.MicroTime":
            moment = datetime.fromisoformat(value)
            return _one(1, "int64", int(moment.timestamp())) + _one(2, "int32", moment.microsecond * 1000)
        case "util/intstr.IntOrString":
            text = value if isinstance(value, str) else ""
            return b"".join(_parts((1, int(bool(text))), (2, 0 if text else value), (3, text)))
        case "apiextensions/v1.JSONSchemaPropsOrBool":
            return _one(1, "bool", bool(value)) + (_one(2, _PROPS, value) if isinstance(value, dict) else b"")
        case "apiextensions/v1.JSONSchemaPropsOrArray":
            return _one(1, _PROPS, value) if isinstance(value, dict) else b"".join(_one(2, _PROPS, v) for v in value)
        case "apiextensions/v1.JSONSchemaPropsOrStringArray":
            return _one(1, _PROPS, value) if isinstance(value, dict) else b"".join(_one(2, "string", v) for v in value)
    if kind.endswith(".ExtraValue") or kind == "meta/v1.Verbs":
        return b"".join(_bytes(1, v.encode()) for v in value)
    return _message(kind, value)


def _parts(*parts: tuple[int, int | str]) -> Iterator[bytes]:
    for number, value in parts:
        yield _one(number, "string" if isinstance(value, str) else "int64", value)


def _bytes(number: int, value: bytes) -> bytes:
    return encode_varint(number << 3 | 2) + encode_varint(len(value)) + value
