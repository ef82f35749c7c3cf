"""Server-side apply: every field has managers, and taking one over from another is a conflict unless forced.

Managers are recorded for objects that have been applied: an object that nobody ever applied has no managedFields, and
its fields count as those of ``before-first-apply`` when somebody does. From then on plain writes are recorded, too.

Source: KEP-555, ``sigs.k8s.io/structured-merge-diff/v6/merge/update.go``,
``k8s.io/apimachinery/pkg/util/managedfields``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from apimachinery.errors import BadRequest, Cause, Conflict
from apimachinery.patch import fields, structured
from apimachinery.patch.fields import NONE, Path, Paths
from apimachinery.patch.json import copy
from apimachinery.patch.structured import Schema

Object = dict[str, Any]

BEFORE_FIRST_APPLY = "before-first-apply"
CLIENT_SIDE_APPLY = "kubectl-client-side-apply"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_LAST_APPLIED_PATH = ("f:metadata", "f:annotations", f"f:{_LAST_APPLIED}")
_META = ("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion",
         "generateName", "deletionTimestamp", "deletionGracePeriodSeconds")  # fmt: skip
_UNTRACKED = frozenset({("f:apiVersion",), ("f:kind",), ("f:metadata",), *(("f:metadata", f"f:{m}") for m in _META)})


@dataclass(frozen=True, slots=True)
class FieldManager:
    """Who writes. ``ignored`` are top-level fields that this endpoint does not write (``status`` in a main write)."""

    name: str
    api_version: str
    time: str
    subresource: str = ""
    ignored: tuple[str, ...] = ()


@dataclass(slots=True)
class _Managed:
    """One entry of managedFields."""

    name: str
    operation: str
    api_version: str
    subresource: str
    time: str
    paths: Paths

    @property
    def id(self) -> tuple[str, str, str, str]:
        # Plain writes of one manager through several versions stay apart; an applier has one set of intentions.
        version = "" if self.operation == "Apply" else self.api_version
        return self.name, self.operation, version, self.subresource

    def shown(self) -> str:
        if self.operation == "Apply":
            return f'"{self.name}"'
        sub = f' with subresource "{self.subresource}"' if self.subresource else ""
        at = f" at {self.time}" if self.time else ""
        return f'"{self.name}"{sub} using {self.api_version}{at}'

    def to_json(self) -> Object:
        out: Object = {
            "manager": self.name,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields.to_fields(self.paths),
        }
        if self.time:
            out["time"] = self.time
        return out | ({"subresource": self.subresource} if self.subresource else {})


def apply(
    live: Object | None,
    applied: Object,
    schema: Schema,
    manager: FieldManager,
    *,
    force: bool = False,
    defaults: Callable[[Object], None] | None = None,
) -> Object:
    """What applying makes of the stored object; None = there is none yet.

    ``applied`` has been through the schema check. ``defaults`` fills in the kind's defaults in place: the stored object
    has them, and what merely lacks them must not look like a change. Raises Conflict, and BadRequest when ``applied``
    carries managedFields.
    """
    if (applied.get("metadata") or {}).get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    wanted = {k: v for k, v in copy(applied).items() if k not in manager.ignored}
    stored = copy(live or {k: wanted[k] for k in ("apiVersion", "kind") if k in wanted})
    managers = _managers(stored, schema) if live is not None else {}
    mine = _Managed(manager.name, "Apply", manager.api_version, manager.subresource, manager.time, NONE)
    before = managers.pop(mine.id, None)
    mine.paths = structured.field_set(wanted, schema) - _UNTRACKED
    if before is not None and before.paths == mine.paths and before.api_version == mine.api_version:
        mine.time = before.time
    merged = structured.merge(stored, wanted, schema)
    if before is not None:
        kept = mine.paths.union(*(m.paths for m in managers.values()))
        merged = structured.remove(merged, before.paths - kept, kept, schema)
    whole = copy(merged)
    if defaults is not None:
        defaults(whole)
    _settle(managers.values(), stored, whole, schema, force=force)
    return _with_managers(merged, [*managers.values(), mine])


def track(old: Object, new: Object, schema: Schema, manager: FieldManager) -> None:
    """Record in ``new`` who owns what after a plain write, if ``old`` is an object that was ever applied."""
    if not (old.get("metadata") or {}).get("managedFields"):
        return
    if "managedFields" not in new["metadata"]:
        return  # the writer has emptied it, which is the way to give up tracking
    difference = _difference(old, new, schema)
    changed = difference.modified | difference.added
    if not changed and not difference.removed:
        return
    managers = _managers(old, schema)
    mine = _Managed(manager.name, "Update", manager.api_version, manager.subresource, manager.time, changed)
    before = managers.pop(mine.id, None)
    if before is not None:
        mine.paths = (before.paths - difference.removed) | changed
        mine.time = manager.time if changed - before.paths else before.time
    for other in managers.values():
        other.paths -= changed | difference.removed
    new["metadata"]["managedFields"] = _entries([*managers.values(), mine])


def _managers(obj: Object, schema: Schema) -> dict[tuple[str, str, str, str], _Managed]:
    entries = (obj.get("metadata") or {}).get("managedFields") or ()
    found = [
        _Managed(
            e.get("manager", ""),
            e.get("operation", ""),
            e.get("apiVersion", ""),
            e.get("subresource", ""),
            e.get("time", ""),
            fields.from_fields(e.get("fieldsV1")),
        )
        for e in entries
    ]
    return {m.id: m for m in found or _before_first_apply(obj, schema)}


def _before_first_apply(obj: Object, schema: Schema) -> list[_Managed]:
    """What can be known of an object's managers when nobody has kept them.

    kubectl's client-side apply left what it had applied in an annotation. On the first server-side apply kubectl takes
    those fields over, and would take everything if they were not told apart.
    """
    everything = structured.field_set(obj, schema) - _UNTRACKED
    theirs = _last_applied(obj, schema) & everything
    version = obj.get("apiVersion", "")
    found = [_Managed(CLIENT_SIDE_APPLY, "Update", version, "", "", theirs)] if theirs else []
    return [*found, _Managed(BEFORE_FIRST_APPLY, "Update", version, "", "", everything - theirs)]


def _last_applied(obj: Object, schema: Schema) -> Paths:
    text = ((obj.get("metadata") or {}).get("annotations") or {}).get(_LAST_APPLIED)
    try:
        return structured.field_set(orjson.loads(text), schema) | {_LAST_APPLIED_PATH} if text else NONE
    except (orjson.JSONDecodeError, BadRequest):
        return NONE  # anybody may write annotations


def _difference(old: Object, new: Object, schema: Schema) -> structured.Difference:
    return structured.Difference(*(_tracked(paths) for paths in structured.compare(old, new, schema)))


def _tracked(paths: Paths) -> Paths:
    return frozenset(p for p in paths if p not in _UNTRACKED and p[:2] not in _UNTRACKED)


def _settle(managers: Iterable[_Managed], old: Object, new: Object, schema: Schema, *, force: bool) -> None:
    """Take from the others what changed: by force, or not at all."""
    difference = _difference(old, new, schema)
    changed = difference.modified | difference.added
    conflicts = [(m, path) for m in managers for path in sorted(m.paths & changed)]
    if conflicts and not force:
        raise _conflict(conflicts)
    for other in managers:
        other.paths -= changed | difference.removed


def _conflict(conflicts: list[tuple[_Managed, Path]]) -> Conflict:
    causes = [Cause("FieldManagerConflict", f"conflict with {m.shown()}", fields.show(p)) for m, p in conflicts]
    if len(conflicts) == 1:
        manager, path = conflicts[0]
        message = f"Apply failed with 1 conflict: conflict with {manager.shown()}: {fields.show(path)}"
        return Conflict(message, causes=causes)
    lines: list[str] = []
    for shown in sorted({m.shown() for m, _ in conflicts}):
        lines.append(f"conflicts with {shown}:")
        lines += [f"- {fields.show(p)}" for m, p in conflicts if m.shown() == shown]
    return Conflict(f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines), causes=causes)


def _with_managers(obj: Object, managers: list[_Managed]) -> Object:
    meta = {k: v for k, v in (obj.get("metadata") or {}).items() if k != "managedFields"}
    return {**obj, "metadata": meta | {"managedFields": _entries(managers)}}


def _entries(managers: list[_Managed]) -> list[Object]:
    named = [m for m in managers if m.paths]
    return [m.to_json() for m in sorted(named, key=lambda m: (m.operation, m.time, m.name, m.subresource))]
