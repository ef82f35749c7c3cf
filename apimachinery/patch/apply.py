"""Server-side apply, and who manages which field after any other write.

Every field has managers; taking one over from another by applying is a conflict unless forced. An object whose
managedFields were emptied is not tracked any more until somebody applies: what it then has counts as that of
``before-first-apply``.

Source: KEP-555, ``sigs.k8s.io/structured-merge-diff/v6/merge/update.go``,
``k8s.io/apimachinery/pkg/util/managedfields/internal``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from apimachinery.errors import BadRequest, Cause, Conflict
from apimachinery.patch import fields, structured
from apimachinery.patch.fields import Fields
from apimachinery.patch.json import copy, without_nulls
from apimachinery.patch.structured import Schema

Object = dict[str, Any]

BEFORE_FIRST_APPLY = "before-first-apply"
MAX_UPDATE_MANAGERS = 10
"""Entries of plain writes that are kept; above, the oldest are united as ``ancient-changes``."""
_ANCIENT = "ancient-changes"
_KUBECTL = "kubectl"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_META = ("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion")
_UNTRACKED: Fields = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {".": {}, **{f"f:{name}": {} for name in _META}},
}


@dataclass(frozen=True, slots=True)
class FieldManager:
    """Who writes, through which version and subresource, and when (RFC 3339, to the second)."""

    name: str
    api_version: str
    time: str
    subresource: str = ""

    def entry(self, operation: str) -> "Entry":
        return Entry(self.name, operation, self.api_version, self.subresource, self.time)


@dataclass(slots=True)
class Entry:
    """One entry of managedFields."""

    name: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: Fields = field(default_factory=dict)

    @property
    def id(self) -> tuple[str, str, str, str]:
        # Plain writes of one manager through several versions stay apart; an applier has one set of intentions.
        return self.name, self.operation, "" if self.operation == "Apply" else self.api_version, self.subresource

    def shown(self) -> str:
        sub = f' with subresource "{self.subresource}"' if self.subresource else ""
        using = "" if self.operation == "Apply" else f" using {self.api_version}"
        return f'"{self.name}"{sub}{using}'

    def to_json(self) -> Object:
        out: Object = {"manager": self.name, "operation": self.operation, "apiVersion": self.api_version}
        if self.time:
            out["time"] = self.time
        out |= {"fieldsType": "FieldsV1", "fieldsV1": self.fields}
        return out | ({"subresource": self.subresource} if self.subresource else {})


Entries = dict[tuple[str, str, str, str], Entry]


def decode(managed: Any) -> Entries | None:
    """The entries of a managedFields; None if it is not one that this server would have written."""
    found: Entries = {}
    for e in managed or ():
        if (
            e.get("operation") not in ("Apply", "Update")
            or e.get("fieldsType") != "FieldsV1"
            or not e.get("apiVersion")
        ):
            return None
        manager, sub, time = e.get("manager", ""), e.get("subresource", ""), e.get("time", "")
        entry = Entry(manager, e["operation"], e["apiVersion"], sub, time, e.get("fieldsV1") or {})
        found[entry.id] = entry
    return found


def encode(entries: Iterable[Entry]) -> list[Object]:
    """Entries that have fields, in upstream's order: plain writes last, oldest first."""
    kept = sorted((e for e in entries if e.fields), key=lambda e: (e.operation, e.time, e.name, *e.id[2:]))
    return [e.to_json() for e in kept]


def tracked_create(obj: Object, schema: Schema, manager: FieldManager, *, typed: bool) -> list[Object]:
    """The managedFields of a new object. ``typed``: its kind is built in."""
    entry = manager.entry("Update")
    entry.fields = _created(obj, schema, typed=typed)
    return [entry.to_json()] if entry.fields else []


def tracked_update(old: Object, new: Object, managed: Entries, schema: Schema, manager: FieldManager) -> list[Object]:
    """The managedFields after a plain write that made ``new`` of ``old``. Its own managedFields count in neither."""
    changed, gone = structured.compare(_bare(old), _bare(new), schema)
    mine = manager.entry("Update")
    mine.fields = fields.minus(changed, _UNTRACKED)
    entries = {i: _less(e, changed, gone) for i, e in managed.items()}
    if mine.fields:
        if before := entries.get(mine.id):
            mine.fields = fields.union(before.fields, mine.fields)
        mine.fields = fields.ordered(mine.fields)
        entries[mine.id] = mine
    return encode(_capped(list(entries.values())))


def apply(
    live: Object | None,
    applied: Object,
    schema: Schema,
    manager: FieldManager,
    *,
    force: bool = False,
    typed: bool = True,
    as_stored: Callable[[Object], Object] = lambda obj: obj,
) -> Object:
    """What applying makes of the stored object; None = there is none yet. ``as_stored`` makes of an object what would
    be stored of it: zeros that were applied are not.

    ``applied`` has been through the schema check. Raises Conflict, and BadRequest when ``applied`` carries
    managedFields.
    """
    if (applied.get("metadata") or {}).get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    wanted = copy(applied)
    stored = _bare(live or {k: wanted[k] for k in ("apiVersion", "kind") if k in wanted})
    entries = _entries(live, schema, manager, typed=typed) if live else {}
    mine = manager.entry("Apply")
    before = entries.pop(mine.id, None)
    mine.fields = structured.field_set(wanted, schema)
    merged = structured.merge(stored, wanted, schema)
    if before is not None:
        owned = mine.fields
        for other in entries.values():
            owned = fields.union(owned, other.fields)
        merged = structured.prune(merged, before.fields, owned, schema)
        mine.time = before.time if merged == stored or as_stored(merged) == stored else mine.time
    changed, gone = structured.compare(stored, merged, schema)
    if not force:
        _refuse_conflicts(entries.values(), changed, _client_side_applied(stored, schema, manager))
    mine.fields = fields.ordered(fields.minus(mine.fields, _UNTRACKED))
    others = [_less(e, changed, gone) for e in entries.values()]
    result = without_nulls(merged) if typed and before is not None else merged
    return _result(result, wanted, manager, [*others, mine])


def _result(merged: Object, wanted: Object, manager: FieldManager, entries: Sequence[Entry]) -> Object:
    meta = dict(merged.get("metadata") or {})
    if manager.name == _KUBECTL and _LAST_APPLIED in (meta.get("annotations") or {}):
        meta["annotations"] = {**meta["annotations"], _LAST_APPLIED: _as_last_applied(wanted)}
    if managed := encode(entries):
        meta["managedFields"] = managed
    return {**merged, "metadata": meta}


def _bare(obj: Object) -> Object:
    """The object without managedFields and what every write changes in the metadata."""
    meta = obj.get("metadata") or {}
    if "managedFields" not in meta:
        return obj
    return {**obj, "metadata": {k: v for k, v in meta.items() if k != "managedFields"}}


def _less(entry: Entry, changed: Fields, gone: Fields) -> Entry:
    left = fields.minus(fields.minus(entry.fields, changed), gone)
    if left is not entry.fields:
        return Entry(entry.name, entry.operation, entry.api_version, entry.subresource, entry.time, left)
    return entry


def _entries(live: Object, schema: Schema, manager: FieldManager, *, typed: bool) -> Entries:
    found = decode((live.get("metadata") or {}).get("managedFields"))
    if found:
        return found
    first = FieldManager(BEFORE_FIRST_APPLY, manager.api_version, manager.time, manager.subresource).entry("Update")
    first.fields = _created(live, schema, typed=typed)
    return {first.id: first}


def _created(obj: Object, schema: Schema, *, typed: bool) -> Fields:
    said = {k: v for k, v in obj.items() if k not in ("apiVersion", "kind")}
    said["metadata"] = {k: v for k, v in (obj.get("metadata") or {}).items() if k not in _META}
    found = structured.created(said, schema, typed=typed)
    if meta := {e: node for e, node in found.pop("f:metadata", fields.NONE).items() if e != fields.ITSELF}:
        found["f:metadata"] = meta
    return fields.ordered(found)


def _capped(entries: list[Entry]) -> list[Entry]:
    """Unite the oldest plain writers, by version, while there are too many."""
    updates = sorted((e for e in entries if e.operation == "Update"), key=lambda e: (e.time, e.id))
    excess, first = len(updates) - MAX_UPDATE_MANAGERS, dict[str, Entry]()
    for entry in updates:
        if excess <= 0:
            break
        bucket = first.get(entry.api_version)
        if bucket is None:
            first[entry.api_version] = entry
            continue
        if bucket.name != _ANCIENT:
            entries.remove(bucket)
            bucket = first[entry.api_version] = Entry(_ANCIENT, "Update", entry.api_version, "", "", bucket.fields)
            entries.append(bucket)
        bucket.fields, bucket.time = fields.ordered(fields.union(bucket.fields, entry.fields)), entry.time
        entries.remove(entry)
        excess -= 1
    return entries


def _client_side_applied(stored: Object, schema: Schema, manager: FieldManager) -> Fields:
    """What kubectl has applied on its own side, and what still is so: kubectl may take these fields over."""
    if manager.name != _KUBECTL:
        return fields.NONE
    text = ((stored.get("metadata") or {}).get("annotations") or {}).get(_LAST_APPLIED)
    try:
        last = orjson.loads(text or b"null")
    except orjson.JSONDecodeError:
        return fields.NONE  # anybody may write annotations
    if not isinstance(last, dict) or last.get("apiVersion") != manager.api_version:
        return fields.NONE
    changed, gone = structured.compare(last, stored, schema)
    return fields.minus(fields.minus(structured.field_set(last, schema), changed), gone)


def _as_last_applied(wanted: Object) -> str:
    meta = dict(wanted["metadata"])
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k != _LAST_APPLIED}
    meta["annotations"] = annotations
    return orjson.dumps({**wanted, "metadata": meta}, option=orjson.OPT_SORT_KEYS).decode() + "\n"


def _refuse_conflicts(managers: Iterable[Entry], changed: Fields, allowed: Fields) -> None:
    """Raises Conflict if somebody else owns what changes."""
    by_manager = sorted(managers, key=lambda m: (*m.id[:3], not m.subresource, m.subresource))
    found = [(m, list(fields.paths(fields.minus(fields.both(m.fields, changed), allowed)))) for m in by_manager]
    conflicts = [(m.shown(), path) for m, paths in found for path in paths]
    if not conflicts:
        return
    causes = [Cause("FieldManagerConflict", f"conflict with {who}", path) for who, path in conflicts]
    if len(conflicts) == 1:
        (who, path) = conflicts[0]
        raise Conflict(f"Apply failed with 1 conflict: conflict with {who}: {path}", causes=causes)
    lines: list[str] = []
    for manager, paths in found:
        if paths:
            lines += [f"conflicts with {manager.shown()}:", *(f"- {path}" for path in paths)]
    raise Conflict(f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines), causes=causes)
