"""Objects as server-side apply sees them: which fields one sets, what merging two makes, how two differ.

A part without a schema (free JSON, custom resources) has maps that merge and lists that don't.

Source: ``sigs.k8s.io/structured-merge-diff/v6/typed``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from apimachinery.patch import fields
from apimachinery.patch.fields import ITSELF, LEAF, NONE, Fields

Object = dict[str, Any]

_KEY_DEFAULTS = {"protocol": "TCP"}
"""A list key that may be left out, and what it then is: ports of containers and of services."""
_ALWAYS_THERE = frozenset(
    ("metadata", "spec", "status", "template", "strategy", "updateStrategy", "jobTemplate", "containers",
     "loadBalancer", "roleRef", "scaleTargetRef", "involvedObject", "regarding", "source", "names", "conversion")
)  # fmt: skip
"""Fields that Go has as structs, or without omitempty: an object of a built-in kind has them even when it is empty, so
who creates one sets what is in them and not them themselves."""


class TypeSchema(Protocol):
    """What applying needs to know of a type."""

    @property
    def form(self) -> str: ...
    @property
    def atomic(self) -> bool: ...
    @property
    def list_type(self) -> str: ...
    @property
    def list_keys(self) -> Sequence[str]: ...
    @property
    def item(self) -> "TypeSchema | None": ...
    def field(self, name: str) -> "TypeSchema | None": ...


Schema = TypeSchema | None


def kind_of(value: Any, schema: Schema) -> str:
    """``map``, ``keyed``, ``set``, or ``atomic`` for everything that is only ever replaced as a whole."""
    if value.__class__ is dict:
        return "atomic" if schema is not None and (schema.atomic or schema.form == "any") else "map"
    if value.__class__ is list and schema is not None:
        return {"map": "keyed", "set": "set"}.get(schema.list_type, "atomic")
    return "atomic"


def _item(schema: Schema) -> Schema:
    return schema.item if schema is not None else None


def _elements(value: list[Any], kind: str, schema: Schema) -> dict[str, Any]:
    """A list's elements by their path elements; of what comes twice, the first."""
    out: dict[str, Any] = {}
    for item in value:
        out.setdefault(element_of(item, kind, schema), item)
    return out


def element_of(item: Any, kind: str, schema: Schema) -> str:
    """How a list's element is named. A key that is missing has no part in the name."""
    if kind == "set" or not isinstance(item, Mapping):
        return fields.value(item)
    keys = {n: item[n] if n in item else key_default(schema, n) for n in (schema.list_keys if schema else ())}
    return fields.key({k: v for k, v in keys.items() if v is not None})


def key_default(schema: TypeSchema | None, name: str) -> Any:
    """What a list key is that an element leaves out; None if it may not."""
    below = schema.item.field(name) if schema is not None and schema.item is not None else None
    declared = getattr(below, "default", None)
    return _KEY_DEFAULTS.get(name) if declared is None else declared


def field_set(value: Any, schema: Schema) -> Fields:
    """The set of what an applied value sets: leaves, list elements and members of free maps. An empty map is a leaf: it
    is a value too. An empty list is nothing, unless it is only ever replaced as a whole."""
    return _set_of(value, schema) or NONE


def _set_of(value: Any, schema: Schema) -> Fields | None:
    """The node of a value; None if nothing is in it."""
    kind = kind_of(value, schema)
    if kind == "atomic" or not value:
        return LEAF if kind in ("atomic", "map") else None
    if kind == "set":
        return dict.fromkeys(map(fields.value, value), LEAF)
    out: Fields = {}
    if kind == "map":
        named = _named(schema)
        for k, v in value.items():
            below = _set_below(v, schema.field(k) if schema is not None else None, own=k not in named)
            if below is not None:
                out["f:" + k] = below
        return out or None
    item = _item(schema)
    for e, v in _elements(value, kind, schema).items():
        out[e] = _set_below(v, item, own=True) or LEAF
    return out


def _set_below(value: Any, schema: Schema, *, own: bool) -> Fields | None:
    below = _set_of(value, schema)
    if not own:
        return below
    return {ITSELF: LEAF, **below} if below else LEAF


def _named(schema: Schema) -> Mapping[str, Any]:
    """The fields that a type names; members of a map are not named, and are something of their own."""
    members = getattr(schema, "members", None)
    named: Mapping[str, Any] = members() if members is not None else {}
    return named


def with_named(node: Fields, schema: Schema) -> Fields:
    """The set with all named fields that lead to what is in it: who owns ``spec.replicas`` keeps ``spec``."""
    named = _named(schema)
    out: Fields = {}
    for element, below in node.items():
        if element == ITSELF:
            out[element] = below
            continue
        name = element[2:]
        field = element.startswith("f:")
        beneath = (schema.field(name) if field else schema.item) if schema is not None else None
        inner = with_named(below, beneath)
        out[element] = {ITSELF: LEAF, **inner} if inner and field and name in named else inner
    return out


def whole(value: Any, schema: Schema) -> Fields:
    """The node of a value that was not there before: all of it, containers too."""
    if value.__class__ is dict:
        if not value or (schema is not None and (schema.atomic or schema.form == "any")):
            return LEAF
        return {ITSELF: LEAF, **_below(value, schema)}
    kind = kind_of(value, schema)
    if kind == "atomic" or not value:
        return LEAF
    if kind == "set":
        return {ITSELF: LEAF, **dict.fromkeys(map(fields.value, value), LEAF)}
    item = _item(schema)
    return {ITSELF: LEAF, **{e: whole(v, item) for e, v in _elements(value, kind, schema).items()}}


def _below(value: Object, schema: Schema) -> Fields:
    """Of the members of a map that is new."""
    out: Fields = {}
    for k, v in value.items():
        if v.__class__ is dict or v.__class__ is list:
            out["f:" + k] = whole(v, schema.field(k) if schema is not None else None)
        else:
            out["f:" + k] = LEAF
    return out


def created(obj: Object, schema: Schema, *, typed: bool) -> Fields:
    """What a new object sets. ``typed``: it is of a built-in kind, of which some fields are always there."""
    if not typed:
        return _below(obj, schema)
    out: Fields = {}
    for k, v in obj.items():
        below = schema.field(k) if schema is not None else None
        if k not in _ALWAYS_THERE or not v:
            out["f:" + k] = whole(v, below)
        elif v.__class__ is dict and not (below is not None and below.atomic):
            if inner := created(v, below, typed=True):
                out["f:" + k] = inner
        else:
            inner = whole(v, below)
            out["f:" + k] = {e: node for e, node in inner.items() if e != ITSELF}
    return out


def merge(live: Any, applied: Any, schema: Schema) -> Any:
    """``live`` with everything that ``applied`` says."""
    kind = kind_of(applied, schema)
    if kind == "atomic" or kind_of(live, schema) != kind:
        return applied
    if kind == "map":
        out = dict(live)
        for k, v in applied.items():
            out[k] = merge(live[k], v, schema.field(k) if schema is not None else None) if k in live else v
        return out
    before, now, item = _elements(live, kind, schema), _elements(applied, kind, schema), _item(schema)
    return [
        merge(before[e], now[e], item) if e in before and e in now else now.get(e, before.get(e))
        for e in _order(list(before), list(now))
    ]


def _order(live: list[str], applied: list[str]) -> list[str]:
    """Elements of both lists: the shared ones in the order of ``applied``, the others where they were among them."""
    ours, shared = set(applied), [e for e in applied if e in set(live)]
    out: list[str] = []
    at, to, met = 0, 0, 0
    while at < len(live) or to < len(applied):
        if at < len(live):
            element = live[at]
            if to < len(applied) and element == applied[to]:
                out.append(element)
                at, to, met = at + 1, to + 1, met + 1
                continue
            if element not in ours:
                out.append(element)
                at += 1
                continue
            if to == len(applied) or shared[met : met + 1] != [element]:
                at += 1  # it comes, or came, with the applied ones
                continue
        out.append(applied[to])
        met += applied[to] == (shared[met] if met < len(shared) else None)
        to += 1
    return out


def compare(old: Any, new: Any, schema: Schema) -> tuple[Fields, Fields]:
    """How an object differs from what it was: the fields that are new or have another value; those that are gone."""
    changed, gone = _compare(old, new, schema) if old != new else (None, None)
    return changed or NONE, gone or NONE


def _compare(old: Any, new: Any, schema: Schema) -> tuple[Fields | None, Fields | None]:
    """The nodes of two values that differ; None where nothing is in them. Null is an empty map or list where there was
    one."""
    old, new = (new.__class__() if old is None else old), (old.__class__() if new is None else new)
    kind = kind_of(new, schema)
    if kind == "atomic" or kind_of(old, schema) != kind or not (old or new):
        return whole(new, schema), {e: node for e, node in whole(old, schema).items() if e != ITSELF} or None
    item = None if kind == "map" else _item(schema)
    if kind == "map":
        before, now, prefix = old, new, "f:"
    else:
        before, now, prefix = _elements(old, kind, schema), _elements(new, kind, schema), ""
    changed: Fields = {}
    gone: Fields = {}
    for e, v in now.items():
        below = item if kind != "map" else schema.field(e) if schema is not None else None
        if e not in before:
            changed[prefix + e] = whole(v, below)
        elif before[e] != v:
            more, less = _compare(before[e], v, below)
            if more is not None:
                changed[prefix + e] = more
            if less is not None:
                gone[prefix + e] = less
    for e in before:
        if e not in now:
            gone[prefix + e] = whole(before[e], item if kind != "map" else schema.field(e) if schema else None)
    return changed or None, gone or None


def prune(merged: Object, last: Fields, owned: Fields, schema: Schema) -> Object:
    """``merged`` without what its applier said last time and nobody, itself included, owns now."""
    last, everything = with_named(last, schema), with_named(field_set(merged, schema), schema)

    def left(gone: Fields) -> tuple[Object, Fields]:
        rest: Object = remove(merged, gone, schema)
        return rest, with_named(field_set(rest, schema), schema)

    _, set_without = left(last)
    _, set_kept = left(fields.minus(everything, fields.union(set_without, with_named(owned, schema))))
    return left(fields.both(fields.minus(everything, set_kept), last))[0]


def remove(value: Any, gone: Fields, schema: Schema) -> Any:
    """``value`` without the fields in ``gone``; with one goes all that is in it. A container of which nothing is left
    is None."""
    if not gone:
        return value
    kind = kind_of(value, schema)
    if kind == "atomic" or not value:
        return None if isinstance(value, dict | list) else value
    pairs: Iterable[tuple[str, Any]] = (
        ((f"f:{k}", v) for k, v in value.items()) if kind == "map" else _elements(value, kind, schema).items()
    )
    left: dict[str, Any] = {}
    for element, member in pairs:
        node = gone.get(element)
        if node is None:
            left[element] = member
        elif not fields.belongs(node):
            below = schema.field(element[2:]) if kind == "map" and schema is not None else _item(schema)
            left[element] = remove(member, node, below)
    if not left:
        return None
    return {e[2:]: v for e, v in left.items()} if kind == "map" else list(left.values())
