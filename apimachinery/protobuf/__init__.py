"""Kubernetes' protobuf bodies, decoded into the JSON-shaped dicts that everything else here works on.

Go clients send protobuf by default, whatever they accept back. A body is the four bytes ``k8s\\0`` and a
``runtime.Unknown`` that names the kind and holds the message. Decoding is driven by ``facts.json`` (see
``generate.py``), not written message by message; only the types whose JSON form is not that of their fields have code.

Source: ``k8s.io/apimachinery/pkg/runtime/serializer/protobuf/doc.go``.
"""

from typing import Any

from apimachinery.errors import BadRequest
from apimachinery.protobuf.decoder import MAGIC, decode_message, message_of
from apimachinery.protobuf.wire import WireError

Object = dict[str, Any]

__all__ = ["CONTENT_TYPE", "MAGIC", "decode"]

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"


def decode(body: bytes) -> Object:
    """The object in a body, ``apiVersion`` and ``kind`` included. Raises BadRequest for anything else.

    Fields that were not set are absent, as in the JSON that Go would make of it.
    """
    if not body.startswith(MAGIC):
        raise BadRequest("provided data does not appear to be a protobuf message, expected prefix k8s\\0")
    try:
        return _unknown(body[len(MAGIC) :])
    except (WireError, ValueError, RecursionError) as e:
        raise BadRequest(f"the protobuf body cannot be decoded: {e}") from e


def _unknown(data: bytes) -> Object:
    envelope = decode_message("runtime.Unknown", data, raw=True)
    about = envelope.get("typeMeta") or {}
    api_version, kind = about.get("apiVersion", ""), about.get("kind", "")
    message = message_of(api_version, kind)
    if message is None:
        raise BadRequest(f'no kind "{kind}" is registered for version "{api_version}" as protobuf')
    if envelope.get("contentEncoding"):
        raise BadRequest(f"content encoding {envelope['contentEncoding']!r} of a protobuf body is not supported")
    return {"kind": kind, "apiVersion": api_version, **decode_message(message, envelope.get("raw", b""))}
