"""Objects as bytes. In etcd: JSON with apiVersion, kind and metadata first, without resourceVersion. In the cache and
on every wire: the same bytes with resourceVersion spliced in as metadata's first field, so no read encodes anything.
"""

from typing import Any

import orjson

from .interface import Stored, Unreadable

Object = dict[str, Any]

_METADATA = b'"metadata":{'
_FIELD = b'"resourceVersion":"'


def encode(obj: Object) -> bytes:
    """The value to store. The object's resourceVersion, if any, is left out; the object is not changed."""
    metadata = obj["metadata"]
    if "resourceVersion" in metadata:
        metadata = {k: v for k, v in metadata.items() if k != "resourceVersion"}
    ordered: Object = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata}
    for key, value in obj.items():
        if key not in ordered:
            ordered[key] = value
    return orjson.dumps(ordered)


def splice(value: bytes, revision: int) -> bytes:
    """A stored value with its resourceVersion. Values that others wrote in another order are brought into ours."""
    at = value.find(b"{", 1) + 1
    if not value.endswith(_METADATA, 0, at):
        value = encode(orjson.loads(value))
        at = value.find(b"{", 1) + 1
    comma = b"" if value[at : at + 1] == b"}" else b","
    return b'%b%b%d"%b%b' % (value[:at], _FIELD, revision, comma, value[at:])


def checked(stored: Stored) -> bytes:
    """``splice`` of a value that may be anybody's. Raises Unreadable."""
    try:
        data = splice(stored.value, stored.revision)
        check(decode(data))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise Unreadable(stored.key, error) from error
    return data


def check(obj: Any) -> None:
    """Whether it has what everything here takes for granted of an object. Raises ValueError."""
    metadata = obj.get("metadata") if isinstance(obj, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ValueError("it is no object with a name")
    labels = metadata.get("labels")
    if labels and not (isinstance(labels, dict) and all(isinstance(v, str) for v in labels.values())):
        raise ValueError("its labels are no labels")


def with_revision(data: bytes, revision: int) -> bytes:
    """Spliced bytes with another resourceVersion: what a DELETED event carries."""
    at = data.index(_FIELD) + len(_FIELD)
    return b"%b%d%b" % (data[:at], revision, data[data.index(b'"', at) :])


def with_version_of(obj: Object, data: bytes) -> bytes:
    """An object's bytes with the resourceVersion that other bytes have."""
    at = data.index(_FIELD) + len(_FIELD)
    return splice(encode(obj), int(data[at : data.index(b'"', at)]))


def decode(data: bytes) -> Object:
    obj: Object = orjson.loads(data)
    return obj


def plain(obj: Object) -> bytes:
    """JSON of an object that is shown but not stored."""
    return orjson.dumps(obj)
