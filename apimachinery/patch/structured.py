"""Objects as server-side apply sees them: which fields one sets, what merging two makes, how two differ.

A part without a schema (free JSON, custom resources) has maps that merge and lists that don't.

Source: ``sigs.k8s.io/structured-merge-diff/v6/typed``.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from apimachinery.errors import BadRequest
from apimachinery.patch import fields
from apimachinery.patch.fields import NONE, Path, Paths
from apimachinery.patch.strategic import in_order

Object = dict[str, Any]

_UNTYPED = "failed to create typed patch object"
_KEY_DEFAULTS = {"protocol": "TCP"}
"""A list key that may be left out, and what it then is: ports of containers and of services."""


class TypeSchema(Protocol):
    """What applying needs to know of a type."""

    @property
    def form(self) -> str: ...
    @property
    def atomic(self) -> bool: ...
    @property
    def list_type(self) -> str: ...
    @property
    def list_keys(self) -> tuple[str, ...]: ...
    @property
    def item(self) -> "TypeSchema | None": ...
    def field(self, name: str) -> "TypeSchema | None": ...


Schema = TypeSchema | None


class Difference(NamedTuple):
    modified: Paths
    added: Paths
    removed: Paths


def _kind(value: Any, schema: Schema) -> str:
    """``map``, ``keyed``, ``set``, or ``atomic`` for everything that is only ever replaced as a whole."""
    if isinstance(value, dict):
        return "atomic" if schema is not None and (schema.atomic or schema.form == "any") else "map"
    if isinstance(value, list) and schema is not None:
        return {"map": "keyed", "set": "set"}.get(schema.list_type, "atomic")
    return "atomic"


def _below(schema: Schema, name: str) -> Schema:
    return schema.field(name) if schema is not None else None


def _item(schema: Schema) -> Schema:
    return schema.item if schema is not None else None


def _members(value: Any, schema: Schema) -> dict[str, tuple[Any, Schema]]:
    """What is directly in a map or list that merges: path element -> value and its schema."""
    match _kind(value, schema):
        case "map":
            return {fields.field(k): (v, _below(schema, k)) for k, v in value.items()}
        case "keyed":
            return _unique(((_key(i, schema), i) for i in value), _item(schema))
        case "set":
            return _unique(((fields.value(i), i) for i in value), None)
    return {}


def _unique(items: Iterable[tuple[str, Any]], schema: Schema) -> dict[str, tuple[Any, Schema]]:
    out: dict[str, tuple[Any, Schema]] = {}
    for element, item in items:
        out.setdefault(element, (item, schema))
    return out


def _key(item: Any, schema: Schema) -> str:
    names = schema.list_keys if schema is not None else ()
    if not isinstance(item, Mapping):
        raise BadRequest(f"{_UNTYPED}: associative list with keys may not have non-map elements")
    keys = {n: item.get(n, _KEY_DEFAULTS.get(n)) for n in names}
    if all(v is None for v in keys.values()):
        told = ", ".join(f'"{n}"' for n in names)
        raise BadRequest(f"{_UNTYPED}: associative list with keys has an element that omits key field {told}")
    return fields.key({k: v for k, v in keys.items() if v is not None})


def field_set(value: Any, schema: Schema, path: Path = ()) -> Paths:
    """The leaves and list elements that a value sets; an empty map or list is a leaf."""
    kind = _kind(value, schema)
    members = _members(value, schema)
    if not members:
        return frozenset((path,))
    own = frozenset((*path, element) for element in members) if kind in ("keyed", "set") else NONE
    below = (field_set(v, s, (*path, e)) for e, (v, s) in members.items())
    return own.union(*below) if kind != "set" else own


def merge(live: Any, applied: Any, schema: Schema) -> Any:
    """``live`` with everything that ``applied`` says."""
    kind = _kind(applied, schema)
    if kind == "atomic" or _kind(live, schema) != kind:
        return applied
    if kind == "map":
        return {**live, **{k: merge(live[k], v, _below(schema, k)) if k in live else v for k, v in applied.items()}}
    before, now = _members(live, schema), _members(applied, schema)
    merged = {e: v for e, (v, _) in before.items()}
    for element, (item, below) in now.items():
        merged[element] = merge(merged[element], item, below) if element in merged else item
    ordered = in_order(list(merged), list(now), list(before), lambda element: element)
    return [merged[element] for element in ordered]


def compare(old: Any, new: Any, schema: Schema, path: Path = ()) -> Difference:
    """How ``new`` differs from ``old``, down to leaves."""
    if old == new:
        return Difference(NONE, NONE, NONE)
    if _kind(old, schema) == "atomic" or _kind(old, schema) != _kind(new, schema):
        return Difference(frozenset((path,)), NONE, NONE)
    before, now = _members(old, schema), _members(new, schema)
    keyed = _kind(new, schema) == "keyed"
    parts = [compare(before[e][0], v, s, (*path, e)) for e, (v, s) in now.items() if e in before]
    added = [_whole(now, e, path, keyed=keyed) for e in now if e not in before]
    removed = [_whole(before, e, path, keyed=keyed) for e in before if e not in now]
    return Difference(
        NONE.union(*(p.modified for p in parts)),
        NONE.union(*added, *(p.added for p in parts)),
        NONE.union(*removed, *(p.removed for p in parts)),
    )


def _whole(members: dict[str, tuple[Any, Schema]], element: str, path: Path, *, keyed: bool) -> Paths:
    value, schema = members[element]
    place = (*path, element)
    return field_set(value, schema, place) | (frozenset((place,)) if keyed else NONE)


def remove(
    value: Any, gone: Paths, kept: Paths, schema: Schema, path: Path = (), identity: tuple[str, ...] = ()
) -> Any:
    """``value`` without the fields in ``gone``. A container goes with its last member, unless ``kept`` names it; a
    list element goes when only its keys (``identity``) are left."""
    kind = _kind(value, schema)
    if kind == "atomic":
        return value
    names = schema.list_keys if schema is not None and kind == "keyed" else ()
    left: dict[str, Any] = {}
    for element, (member, below) in _members(value, schema).items():
        place = (*path, element)
        if _touches(gone, place) and element[2:] not in identity:
            rest = remove(member, gone, kept, below, place, names)
            if not _is_gone(rest, place, gone, kept, names, below):
                left[element] = rest
        else:
            left[element] = member
    return {e[2:]: v for e, v in left.items()} if kind == "map" else list(left.values())


def _touches(paths: Paths, place: Path) -> bool:
    size = len(place)
    return any(p[:size] == place for p in paths)


def _is_gone(left: Any, place: Path, gone: Paths, kept: Paths, keys: tuple[str, ...], schema: Schema) -> bool:
    if _touches(kept, place):
        return False
    if isinstance(left, dict) and _kind(left, schema) == "map":
        return not left or (bool(keys) and set(left) <= set(keys))
    if isinstance(left, list) and _kind(left, schema) != "atomic":
        return not left
    return place in gone
