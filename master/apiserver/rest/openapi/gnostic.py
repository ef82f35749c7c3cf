"""An OpenAPI v2 document as gnostic's protobuf: what Go clients that still use version 2 ask for.

The table says for each message which member of the JSON form goes into which field; only the messages that our
documents use are in it, and a member that it does not name is an error, so that nothing is lost in silence.

Source: ``OpenAPIv2.proto`` of github.com/google/gnostic-models.
"""

import struct
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import orjson

from apimachinery.protobuf.wire import BYTES, FIXED64, VARINT, encode_varint

Object = Mapping[str, Any]
Encode = Callable[[Any], bytes]

_MESSAGES = {
    "Document": "swagger=1 info=2:Info consumes=6* produces=7* paths=8:Paths definitions=9:Definitions x-=16",
    "Info": "title=1 version=2 description=3 x-=7",
    "Definitions": "=1:Schema",
    "Paths": "x-=1 =2:PathItem",
    "PathItem": "$ref=1 get=2:Operation put=3:Operation post=4:Operation delete=5:Operation options=6:Operation "
    "head=7:Operation patch=8:Operation parameters=9*:ParametersItem x-=10",
    "Operation": "tags=1* summary=2 description=3 operationId=5 produces=6* consumes=7* parameters=8*:ParametersItem "
    "responses=9:Responses schemes=10* deprecated=11 x-=13",
    "Responses": "=1:ResponseValue x-=2",
    "Response": "description=1 schema=2:SchemaItem x-=5",
    "JsonReference": "$ref=1 description=2",
    "BodyParameter": "description=1 name=2 in=3 required=4 schema=5:Schema x-=6",
    "HeaderParameter": "required=1 in=2 description=3 name=4 type=5 format=6 uniqueItems=19 x-=22",
    "QueryParameter": "required=1 in=2 description=3 name=4 allowEmptyValue=5 type=6 format=7 uniqueItems=20 x-=23",
    "PathParameter": "required=1 in=2 description=3 name=4 type=5 format=6 uniqueItems=19 x-=22",
    "Schema": "$ref=1 format=2 title=3 description=4 default=5:Any multipleOf=6:Double maximum=7:Double "
    "exclusiveMaximum=8 minimum=9:Double exclusiveMinimum=10 maxLength=11 minLength=12 pattern=13 maxItems=14 "
    "minItems=15 uniqueItems=16 maxProperties=17 minProperties=18 required=19* enum=20*:Any "
    "additionalProperties=21:AdditionalProperties type=22:TypeItem items=23:ItemsItem allOf=24*:Schema "
    "properties=25:Properties discriminator=26 readOnly=27 externalDocs=29:ExternalDocs "
    "example=30:Any x-=31",
    "ExternalDocs": "description=1 url=2",
    "Properties": "=1:Schema",
}
"""Members as ``member=number``, then ``*`` if repeated, then ``:Form`` unless a scalar. ``x-`` stands for all
extensions, the empty name for every other member: such a message is a map, written as pairs of name and value."""


class _Field(NamedTuple):
    number: int
    many: bool
    encode: Encode


def encode_document(document: Object) -> bytes:
    """The bytes of an ``openapi.v2.Document``. Raises ValueError for a member that the table does not name."""
    return _message("Document", document)


@cache
def _plan(message: str) -> dict[str, _Field]:
    return dict(_field(entry) for entry in _MESSAGES[message].split())


def _field(entry: str) -> tuple[str, _Field]:
    member, place = entry.split("=")
    place, _, form = place.partition(":")
    encode = _form(form) if form else _any if member == "x-" else _scalar
    number = int(place.rstrip("*"))
    if member in ("", "x-"):
        return member, _Field(number, many=False, encode=_named(encode))
    return member, _Field(number, many=place.endswith("*"), encode=encode)


def _form(name: str) -> Encode:
    """How a member of this form is encoded: forms with a choice have code, the others are messages."""
    return _CHOICES.get(name) or (lambda value: _message(name, value))


def _message(name: str, value: Object) -> bytes:
    plan = _plan(name)
    out = bytearray()
    for member, content in value.items():
        if field := plan.get(member):
            for item in content if field.many else (content,):
                _put(out, field, item)
        elif pairs := (member.startswith("x-") and plan.get("x-")) or plan.get(""):
            _put(out, pairs, (member, content))
        else:
            raise ValueError(f"{member!r} has no field in openapi.v2.{name}")
    return bytes(out)


def _put(out: bytearray, field: _Field, item: Any) -> None:
    if field.encode is _double:
        out += encode_varint(field.number << 3 | FIXED64) + _double(item)
    elif isinstance(item, int) and field.encode is _scalar:
        out += encode_varint(field.number << 3 | VARINT) + encode_varint(int(item))
    else:
        out += _bytes(field.number, field.encode(item))


def _bytes(number: int, content: bytes) -> bytes:
    return encode_varint(number << 3 | BYTES) + encode_varint(len(content)) + content


def _scalar(value: str) -> bytes:
    return value.encode()


def _double(value: float) -> bytes:
    return struct.pack("<d", value)


def _any(value: Any) -> bytes:
    """A free value travels as YAML, of which JSON is a part."""
    return _bytes(2, orjson.dumps(value))


def _named(encode: Encode) -> Encode:
    return lambda pair: _bytes(1, pair[0].encode()) + _bytes(2, encode(pair[1]))


def _type_item(value: str | list[str]) -> bytes:
    return b"".join(_bytes(1, t.encode()) for t in ([value] if isinstance(value, str) else value))


def _items_item(value: Object | list[Object]) -> bytes:
    return b"".join(_bytes(1, _message("Schema", s)) for s in (value if isinstance(value, list) else [value]))


def _additional_properties(value: Object | bool) -> bytes:
    if isinstance(value, bool):
        return encode_varint(2 << 3 | VARINT) + encode_varint(int(value))
    return _bytes(1, _message("Schema", value))


def _or_reference(encode: Encode) -> Encode:
    return lambda value: _bytes(2, _message("JsonReference", value)) if "$ref" in value else _bytes(1, encode(value))


def _parameter(value: Object) -> bytes:
    if value["in"] == "body":
        return _bytes(1, _message("BodyParameter", value))
    number, message = _PLACES[value["in"]]
    return _bytes(2, _bytes(number, _message(message, value)))


_PLACES = {"header": (1, "HeaderParameter"), "query": (3, "QueryParameter"), "path": (4, "PathParameter")}
_CHOICES: dict[str, Encode] = {
    "Any": _any,
    "Double": _double,
    "TypeItem": _type_item,
    "ItemsItem": _items_item,
    "AdditionalProperties": _additional_properties,
    "SchemaItem": lambda value: _bytes(1, _message("Schema", value)),
    "ParametersItem": _or_reference(_parameter),
    "ResponseValue": _or_reference(lambda value: _message("Response", value)),
}
