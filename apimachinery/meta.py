"""What all objects have: keys, owner references, conditions, times and names.

Source: ``metav1.ObjectMeta`` and the conventions of ``k8s.io/apimachinery``.
"""

import random
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from apimachinery.scheme import Kind

Object = dict[str, Any]
Key = tuple[str, str]

# No vowels and no look-alikes, as upstream: names must not spell words.
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_MAX_GENERATED_BASE = 63 - _SUFFIX_LENGTH


def name_of(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"].get("name", ""))


def namespace_of(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"].get("namespace", ""))


def uid_of(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"].get("uid", ""))


def key_of(obj: Mapping[str, Any]) -> Key:
    """(namespace, name); the namespace of a cluster-scoped object is ``""``."""
    metadata = obj["metadata"]
    return (metadata.get("namespace", ""), metadata["name"])


def version_of(obj: Mapping[str, Any]) -> int:
    """The resource version as a number: an etcd revision. 0 if the object has none."""
    return int(obj["metadata"].get("resourceVersion") or 0)


def labels_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    return obj["metadata"].get("annotations") or {}


def is_deleting(obj: Mapping[str, Any]) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


# Owner references


def owner_references(obj: Mapping[str, Any]) -> list[Object]:
    return obj["metadata"].get("ownerReferences") or []


def controller_of(obj: Mapping[str, Any]) -> Object | None:
    """The owner reference with ``controller: true``, of which there is at most one."""
    return next((r for r in owner_references(obj) if r.get("controller")), None)


def is_controlled_by(obj: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    reference = controller_of(obj)
    return reference is not None and reference["uid"] == uid_of(owner)


def owner_reference(owner: Mapping[str, Any], kind: Kind, *, controller: bool = True) -> Object:
    """A reference to ``owner`` to put on a dependent; it blocks the owner's foreground deletion."""
    reference: Object = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": name_of(owner),
        "uid": uid_of(owner),
        "blockOwnerDeletion": True,
    }
    if controller:
        reference["controller"] = True
    return reference


# Conditions


def get_condition(obj: Mapping[str, Any], type_: str) -> Object | None:
    """A condition of ``status.conditions`` by its type."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == type_), None)


def condition_is_true(obj: Mapping[str, Any], type_: str) -> bool:
    condition = get_condition(obj, type_)
    return condition is not None and condition.get("status") == "True"


def with_condition(conditions: Iterable[Object] | None, new: Object) -> list[Object]:
    """The conditions with ``new`` in the place of that of its type, or at the end.

    ``lastTransitionTime`` of the old one is kept if the status did not change, as upstream does.
    """
    out, placed = [], False
    for old in conditions or ():
        if old.get("type") != new["type"]:
            out.append(old)
            continue
        if old.get("status") == new.get("status") and "lastTransitionTime" in old:
            new = {**new, "lastTransitionTime": old["lastTransitionTime"]}
        out.append(new)
        placed = True
    return out if placed else [*out, new]


def without_condition(conditions: Iterable[Object] | None, type_: str) -> list[Object]:
    return [c for c in conditions or () if c.get("type") != type_]


# Times


def format_time(moment: datetime) -> str:
    """``metav1.Time``: RFC 3339 in UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(moment: datetime) -> str:
    """``metav1.MicroTime``: RFC 3339 in UTC with six decimals, as Leases and Events have it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """Read either form. Raises ValueError."""
    return datetime.fromisoformat(text)


def now_time() -> str:
    return format_time(datetime.now(UTC))


# Names and uids


def new_uid() -> str:
    return str(uuid.uuid4())


def name_suffix(length: int = _SUFFIX_LENGTH) -> str:
    """Random characters as ``generateName`` appends."""
    return "".join(random.choices(_SUFFIX_ALPHABET, k=length))  # noqa: S311 - uniqueness is checked by the server


def generate_name(base: str) -> str:
    """``base`` cut so that base and suffix fit a host name of 63 characters, plus five random characters."""
    return base[:_MAX_GENERATED_BASE] + name_suffix()


def safe_encode(text: str) -> str:
    """Map digits and letters to the suffix alphabet, as upstream's ``rand.SafeEncodeString`` does."""
    return "".join(_SUFFIX_ALPHABET[ord(c) % len(_SUFFIX_ALPHABET)] for c in text)
