"""Protobuf: what a writer of the same table wrote is read back, and no bytes do worse than a refusal."""

import base64
import struct
from datetime import UTC, datetime
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from apimachinery import protobuf
from apimachinery.errors import BadRequest
from apimachinery.protobuf.decoder import _facts

Object = dict[str, Any]

_KINDS = sorted(k for k in _facts()["kinds"] if not k.endswith(("Options", "WatchEvent", "Status", "APIGroup")))
_CODED = ("apiextensions/v1.JSON", "meta/v1.Verbs", "meta/v1.MicroTime", "runtime.Unknown")
"""Types with code of their own that the writer below does not have: ``tests/unit/test_protobuf.py`` has."""
_text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=5)
_scalars: dict[str, st.SearchStrategy[Any]] = {
    "string": _text,
    "bytes": st.binary(min_size=1, max_size=4).map(lambda b: base64.b64encode(b).decode()),
    "bool": st.just(True),
    "int32": st.integers(-(2**31), 2**31 - 1).filter(bool),
    "int64": st.integers(-(2**63), 2**63 - 1).filter(bool),
    "float64": st.floats(allow_nan=False).filter(bool),
    "meta/v1.Time": st.integers(1, 2**31).map(lambda s: _time(s, "")),
    "meta/v1.MicroTime": st.integers(1, 2**31).map(lambda s: _time(s, ".000007")),
    "resource.Quantity": st.sampled_from(["1", "500m", "1Gi"]),
    "util/intstr.IntOrString": st.integers(0, 9) | _text,
    "runtime.RawExtension": st.just({"a": [1]}),
    "meta/v1.FieldsV1": st.just({"f:spec": {}}),
}


def _time(seconds: int, fraction: str) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def _values(kind: str, depth: int) -> st.SearchStrategy[Any]:
    if kind in _scalars:
        return _scalars[kind]
    if kind.startswith("map "):
        return st.dictionaries(_text, _values(kind[4:], depth), min_size=1, max_size=2)
    return _messages(kind, depth - 1)


def _messages(message: str, depth: int) -> st.SearchStrategy[Object]:
    @st.composite
    def build(draw: st.DrawFn) -> Object:
        out: Object = {}
        facts = list(_facts()["messages"][message].values())
        chosen = draw(st.lists(st.sampled_from(facts), max_size=3, unique_by=lambda f: f[0])) if facts else []
        for name, kind, flags in chosen:
            known = kind.removeprefix("map ")
            if (depth <= 0 and known not in _scalars) or not (known in _scalars or _is_plain(known)):
                continue
            values = _values(kind, depth)
            if "i" in flags:
                out.update(draw(values))
            else:
                out[name] = draw(st.lists(values, min_size=1, max_size=2)) if "l" in flags else draw(values)
        return out

    return build()


def _is_plain(kind: str) -> bool:
    return kind in _facts()["messages"] and not kind.startswith(_CODED) and not kind.endswith(".ExtraValue")


@st.composite
def objects(draw: st.DrawFn) -> Object:
    api_version, kind = draw(st.sampled_from(_KINDS)).split()
    message = _facts()["kinds"][f"{api_version} {kind}"]
    about = {"kind": kind, "apiVersion": api_version}
    return {**draw(_messages(message, 4)), **about}


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _delimited(number: int, raw: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _encode(message: str, obj: Object) -> bytes:
    out = b""
    for number, (name, kind, flags) in _facts()["messages"][message].items():
        if "i" in flags:
            inner = _encode(kind, {k: v for k, v in obj.items() if k in _shown(kind)})
            out += _delimited(int(number), inner)
        elif name in obj:
            values = obj[name] if "l" in flags else [obj[name]]
            out += b"".join(_field(int(number), kind, v) for v in values)
    return out


def _shown(message: str) -> set[str]:
    return {name for name, _, _ in _facts()["messages"][message].values()}


def _field(number: int, kind: str, value: Any) -> bytes:
    if kind.startswith("map "):
        entries = ((_delimited(1, k.encode()) + _field(2, kind[4:], v)) for k, v in value.items())
        return b"".join(_delimited(number, e) for e in entries)
    if kind in ("bool", "int32", "int64"):
        return _varint(number << 3) + _varint(int(value))
    if kind == "float64":
        return _varint(number << 3 | 1) + struct.pack("<d", value)
    return _delimited(number, _bytes(kind, value))


def _bytes(kind: str, value: Any) -> bytes:
    if kind == "string":
        return str(value).encode()
    if kind == "bytes":
        return base64.b64decode(value)
    if kind == "resource.Quantity":
        return _delimited(1, value.encode())
    if kind in ("meta/v1.Time", "meta/v1.MicroTime"):
        moment = datetime.fromisoformat(value)
        return _field(1, "int64", int(moment.timestamp())) + _field(2, "int32", moment.microsecond * 1000)
    if kind == "util/intstr.IntOrString":
        text = isinstance(value, str)
        return _field(1, "int64", int(text)) + (_delimited(3, value.encode()) if text else _field(2, "int32", value))
    if kind in ("runtime.RawExtension", "meta/v1.FieldsV1"):
        return _delimited(1, orjson.dumps(value))
    return _encode(kind, value)


@given(objects())
def test_round_trip(obj: Object) -> None:
    about = _delimited(1, obj["apiVersion"].encode()) + _delimited(2, obj["kind"].encode())
    raw = _encode(_facts()["kinds"][f"{obj['apiVersion']} {obj['kind']}"], obj)
    decoded = protobuf.decode(b"k8s\0" + _delimited(1, about) + _delimited(2, raw))
    assert _pruned(decoded) == _pruned(obj)


def _pruned(value: Any) -> Any:
    """Without empty messages: one that is inline cannot be told from none."""
    if isinstance(value, dict):
        return {k: p for k, v in value.items() if (p := _pruned(v)) not in ({}, [])}
    return [_pruned(v) for v in value] if isinstance(value, list) else value


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    about = _delimited(1, b"v1") + _delimited(2, b"Pod")
    for body in (raw, b"k8s\0" + raw, b"k8s\0" + _delimited(1, about) + _delimited(2, raw)):
        try:
            protobuf.decode(body)
        except BadRequest:
            continue
