"""The rules of metadata, which all kinds share: pure functions over one object, or over an object and its successor.

Source: ``k8s.io/apiserver/pkg/registry/rest/{create,update,meta}.go`` and ``apimachinery/pkg/api/validation/objectmeta.go``.
"""

import random
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from apimachinery.errors import BadRequest, Cause
from apimachinery.scheme import Kind

from . import refusals

Object = dict[str, Any]

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_MAX_GENERATED = 63
_DNS1123_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DNS1123_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_NAMED = frozenset(("namespaces", "services"))
_SERVER_OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation")
_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_STATUS_MAY_CHANGE = ("labels", "annotations", "managedFields")
_random = random.SystemRandom()


def now() -> str:
    """The current second as metav1.Time."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
    metadata["uid"] = str(uuid.uuid4())
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


def validate_new(kind: Kind, obj: Object) -> list[Cause]:
    name = obj["metadata"].get("name") or ""
    if not name:
        return [Cause("FieldValueRequired", "Required value: name or generateName is required", "metadata.name")]
    if not isinstance(name, str):
        return [Cause("FieldValueTypeInvalid", "Invalid value: must be a string", "metadata.name")]
    wrong = name_problem(kind, name)
    return [Cause("FieldValueInvalid", f'Invalid value: "{name}": {wrong}', "metadata.name")] if wrong else []


def name_problem(kind: Kind, name: str) -> str:
    """Why a name cannot be that of an object of the kind; "" if it can."""
    if kind.group == "rbac.authorization.k8s.io" or kind.resource in ("flowschemas", "prioritylevelconfigurations"):
        return "" if name not in (".", "..") and "/" not in name and "%" not in name else "may not contain '/' or '%'"
    if kind.resource in _LABEL_NAMED and not kind.group:
        if len(name) > 63:
            return "must be no more than 63 bytes"
        return "" if _DNS1123_LABEL.fullmatch(name) else _LABEL_RULE
    if kind.resource == "ipaddresses" and not kind.group.startswith("x-"):
        return ""
    if len(name) > 253:
        return "must be no more than 253 bytes"
    return "" if _DNS1123_SUBDOMAIN.fullmatch(name) else _SUBDOMAIN_RULE


def carry_over(kind: Kind, obj: Object, old: Object) -> None:
    """Keep of the old metadata what an update may not change. Raises Conflict if it is about another object."""
    metadata, before = obj["metadata"], old["metadata"]
    uid = metadata.get("uid")
    if uid and uid != before["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['uid']}"
        raise refusals.conflict(kind, before["name"], why)
    for field in _KEPT:
        if field in before:
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)
    metadata.pop("selfLink", None)
    if "generateName" in before:
        metadata.setdefault("generateName", before["generateName"])
    if "managedFields" in before and "managedFields" not in metadata:
        metadata["managedFields"] = before["managedFields"]
    elif metadata.get("managedFields") in ([], [{}]):
        del metadata["managedFields"]


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


def bump_generation(obj: Object, old: Object) -> None:
    """One more if anything but metadata and status differs."""
    if any(obj.get(k) != old.get(k) for k in obj.keys() | old.keys() if k not in ("metadata", "status")):
        obj["metadata"]["generation"] = int(old["metadata"].get("generation") or 0) + 1


def status_only(obj: Object, old: Object) -> Object:
    """The old object with the status, labels and annotations of the new one."""
    metadata = dict(old["metadata"])
    for field in _STATUS_MAY_CHANGE:
        if field in obj["metadata"]:
            metadata[field] = obj["metadata"][field]
        elif field != "managedFields":
            metadata.pop(field, None)
    merged = {**old, "metadata": metadata}
    if "status" in obj:
        merged["status"] = obj["status"]
    else:
        merged.pop("status", None)
    return merged
