"""The rules of metadata, which all kinds share: pure functions over one object, or over an object and its successor.

Source: ``k8s.io/apiserver/pkg/registry/rest/{create,update,meta}.go``.
"""

import random
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from apimachinery.errors import BadRequest, Cause
from apimachinery.scheme import Kind

from ..identifiers import new_uid
from . import refusals

Object = dict[str, Any]

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_MAX_GENERATED = 63
_SERVER_OWNED = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "generation",
)
KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_STATUS_MAY_CHANGE = ("labels", "annotations")
_random = random.Random()  # noqa: S311 - a name must be new, not unguessable


def now() -> str:
    """The current second as metav1.Time."""
    return _shown(int(time.time()))


@lru_cache(maxsize=2)  # every write asks, some twice
def _shown(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def generated(base: str) -> str:
    """A name of ``generateName`` with five random letters and digits."""
    return base[: _MAX_GENERATED - 5] + "".join(_random.choices(_SUFFIX, k=5))


def fill_new(kind: Kind, obj: Object, namespace: str, *, generation: bool) -> None:
    """Make the metadata of an object to be created: what the server owns is set or cleared. Raises BadRequest."""
    metadata = obj.setdefault("metadata", {})
    if metadata.pop("resourceVersion", ""):
        raise BadRequest("resourceVersion should not be set on objects to be created")
    set_namespace(kind, metadata, namespace)
    for field in _SERVER_OWNED:
        metadata.pop(field, None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = generated(metadata["generateName"])
    metadata["uid"] = new_uid()
    metadata["creationTimestamp"] = now()
    if generation:
        metadata["generation"] = 1


def set_namespace(kind: Kind, metadata: Object, namespace: str) -> None:
    if not kind.namespaced:
        if metadata.pop("namespace", ""):
            raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
        return
    if metadata.setdefault("namespace", namespace) in ("", None):
        metadata["namespace"] = namespace
    if metadata["namespace"] != namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")


def immutable(paths: Iterable[str], obj: Object, old: Object) -> list[Cause]:
    """One cause for each dotted path whose value differs."""
    causes = []
    for path in paths:
        value = _at(obj, path)
        if value != _at(old, path):
            shown = orjson.dumps(value).decode()
            causes.append(Cause("FieldValueInvalid", f"Invalid value: {shown}: field is immutable", path))
    return causes


def _at(obj: Any, path: str) -> Any:
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    return obj


def carry_over(kind: Kind, obj: Object, old: Object) -> None:
    """Keep of the old metadata what an update may not change. Raises Conflict if it is about another object."""
    metadata, before = obj["metadata"], old["metadata"]
    uid = metadata.get("uid")
    if uid and uid != before["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['uid']}"
        raise refusals.conflict(kind, before["name"], why)
    restore(obj, before)
    metadata.pop("selfLink", None)
    if "generateName" in before:
        metadata.setdefault("generateName", before["generateName"])


def restore(obj: Object, before: Object) -> None:
    """Put back what the server owns of some metadata as it was."""
    metadata = obj["metadata"]
    for field in KEPT:
        if before.get(field) is not None:
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)


def validate_update(obj: Object, old: Object) -> list[Cause]:
    """No new finalizers on an object that is being deleted."""
    if "deletionTimestamp" not in old["metadata"]:
        return []
    added = set(obj["metadata"].get("finalizers") or ()) - set(old["metadata"].get("finalizers") or ())
    if not added:
        return []
    told = ", ".join(f'"{f}"' for f in sorted(added))
    message = f"Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers [{told}]"
    return [Cause("FieldValueForbidden", message, "metadata.finalizers")]


def bump_generation(kind: Kind, obj: Object, old: Object) -> None:
    """One more if anything but metadata differs; a status that is no subresource is content like any other."""
    besides = ("metadata", "status") if "status" in kind.subresources else ("metadata",)
    if any(obj.get(k) != old.get(k) for k in obj.keys() | old.keys() if k not in besides):
        obj["metadata"]["generation"] = int(old["metadata"].get("generation") or 0) + 1


def confine_to_status(obj: Object, old: Object, may_change: Collection[str]) -> None:
    """Put back of ``old``'s labels and annotations those that a status write to this kind may not change."""
    for field in _STATUS_MAY_CHANGE:
        if field not in may_change and obj["metadata"].get(field) != old["metadata"].get(field):
            obj["metadata"] = {k: v for k, v in obj["metadata"].items() if k != field}
            if field in old["metadata"]:
                obj["metadata"][field] = old["metadata"][field]


def status_only(obj: Object, old: Object) -> Object:
    """The old object with the status, labels and annotations of the new one."""
    metadata = dict(old["metadata"])
    for field in _STATUS_MAY_CHANGE:
        if field in obj["metadata"]:
            metadata[field] = obj["metadata"][field]
        else:
            metadata.pop(field, None)
    merged = {**old, "metadata": metadata}
    if "status" in obj:
        merged["status"] = obj["status"]
    else:
        merged.pop("status", None)
    return merged
