"""Structural schemas: the schema of a custom kind, as a tree that prunes, fills in defaults and tells types apart.

Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema`` (``structural.go``, ``pruning``, ``defaulting``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from apimachinery.patch.json import copy
from apimachinery.schema.model import Schema

Object = dict[str, Any]

META = ("apiVersion", "kind", "metadata")
"""The members of a resource that its schema need not name."""
_STRUCTURE = frozenset(
    ("type", "properties", "additionalProperties", "items", "nullable", "default", "description", "title", "example",
     "externalDocs", "allOf", "anyOf", "oneOf", "not")
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Structural:
    """One node. ``extra`` is the schema of members that ``properties`` does not name; without one they may be anything
    (``extra_allowed``), or are pruned. ``limits`` are the keywords that restrict a value, such as ``maximum``.
    """

    type: str = ""
    nullable: bool = False
    preserve: bool = False
    embedded: bool = False
    int_or_string: bool = False
    default: Any = None
    properties: dict[str, "Structural"] = field(default_factory=dict)
    extra: "Structural | None" = None
    extra_allowed: bool = False
    items: "Structural | None" = None
    list_type: str = ""
    list_keys: tuple[str, ...] = ()
    atomic_map: bool = False
    limits: dict[str, Any] = field(default_factory=dict)
    all_of: tuple["Structural", ...] = ()
    any_of: tuple["Structural", ...] = ()
    one_of: tuple["Structural", ...] = ()
    none_of: "Structural | None" = None

    def member(self, name: str) -> "Structural | None":
        return self.properties.get(name, self.extra)


def compile_schema(raw: Mapping[str, Any]) -> Structural:
    """The tree of an ``openAPIV3Schema``, or of what stands in one under ``anyOf`` and the like."""
    extra = raw.get("additionalProperties")
    return Structural(
        type=raw.get("type") or "",
        nullable=bool(raw.get("nullable")),
        preserve=bool(raw.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(raw.get("x-kubernetes-embedded-resource")),
        int_or_string=bool(raw.get("x-kubernetes-int-or-string")),
        default=raw.get("default"),
        properties={k: compile_schema(v) for k, v in (raw.get("properties") or {}).items()},
        extra=compile_schema(extra) if isinstance(extra, Mapping) else None,
        extra_allowed=bool(extra) or extra == {},
        items=compile_schema(raw["items"]) if isinstance(raw.get("items"), Mapping) else None,
        list_type=raw.get("x-kubernetes-list-type") or "",
        list_keys=tuple(raw.get("x-kubernetes-list-map-keys") or ()),
        atomic_map=raw.get("x-kubernetes-map-type") == "atomic",
        limits={k: v for k, v in raw.items() if k not in _STRUCTURE and not k.startswith("x-") and v is not None},
        all_of=tuple(compile_schema(s) for s in raw.get("allOf") or ()),
        any_of=tuple(compile_schema(s) for s in raw.get("anyOf") or ()),
        one_of=tuple(compile_schema(s) for s in raw.get("oneOf") or ()),
        none_of=compile_schema(raw["not"]) if raw.get("not") is not None else None,
    )


def compile_root(raw: Mapping[str, Any]) -> Structural:
    """The tree of a whole custom kind: its root is a resource."""
    made = compile_schema(raw)
    made.embedded = True
    return made


def prune(value: Any, schema: Structural) -> list[str]:
    """Take out, in place, what the schema does not name; the paths of that, in order. Idempotent."""
    found: list[str] = []
    _prune(value, schema, "", found, keep=False)
    return sorted(found)


def _prune(value: Any, schema: Structural | None, path: str, found: list[str], *, keep: bool) -> None:
    if schema is None and keep:
        return
    keep = keep or (schema is not None and schema.preserve)
    if isinstance(value, dict):
        for key in list(value):
            if schema is not None and schema.embedded and key in META:
                continue
            place = f"{path}.{key}" if path else key
            if schema is not None and (key in schema.properties or schema.extra_allowed):
                _prune(value[key], schema.member(key), place, found, keep=False)
            elif not keep:
                del value[key]
                found.append(place)
    elif isinstance(value, list):
        items = schema.items if schema is not None else None
        for index, item in enumerate(value):
            _prune(item, items, f"{path}[{index}]", found, keep=keep)


def fill_defaults(value: Any, schema: Structural | None) -> None:
    """Put in, in place, the defaults of what is absent, or null and may not be. A null without a default that may not
    be is dropped. Idempotent."""
    if schema is None:
        return
    if isinstance(value, dict):
        _default_members(value, schema)
    elif isinstance(value, list):
        items = schema.items
        for index, item in enumerate(value):
            if item is None and items is not None and not items.nullable and items.default is not None:
                value[index] = copy(items.default)
            fill_defaults(value[index], items)


def _default_members(value: Object, schema: Structural) -> None:
    for key in [k for k, v in value.items() if v is None]:
        member = schema.member(key)
        if member is not None and not member.nullable:
            if member.default is not None:
                value[key] = copy(member.default)
            else:
                del value[key]
    for key, member in schema.properties.items():
        if key not in value and member.default is not None:
            value[key] = copy(member.default)
    for key, content in value.items():
        if isinstance(content, dict | list):
            fill_defaults(content, schema.member(key))


def resources(value: Any, schema: Structural | None, path: str = "") -> Iterator[tuple[str, Object]]:
    """The resources that are embedded in a value, with their paths; the root is not one of them."""
    if schema is None:
        return
    if isinstance(value, dict):
        for key, content in value.items():
            member = schema.member(key)
            if member is None:
                continue
            place = f"{path}.{key}" if path else key
            if member.embedded and isinstance(content, dict):
                yield place, content
            yield from resources(content, member, place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            place = f"{path}[{index}]"
            if schema.items is not None and schema.items.embedded and isinstance(item, dict):
                yield place, item
            yield from resources(item, schema.items, place)


def merging(schema: Structural, envelope: Mapping[str, Schema]) -> Schema:
    """The schema as merging sees it: which lists are sets and maps, and what is replaced as a whole. ``envelope`` are
    the members that every resource has."""
    match schema.type:
        case "object":
            return _merging_object(schema, envelope)
        case "array":
            item = merging(schema.items, envelope) if schema.items is not None else None
            return Schema("list", item=item, list_type=schema.list_type, list_keys=schema.list_keys)
    if schema.preserve and not schema.type:
        return Schema("object", open=True)
    form = "intorstring" if schema.int_or_string else _SCALARS.get(schema.type, "any")
    return Schema(form, default=schema.default)


_SCALARS = {"string": "string", "integer": "int64", "number": "double", "boolean": "bool"}


def _merging_object(schema: Structural, envelope: Mapping[str, Schema]) -> Schema:
    if schema.extra_allowed and not schema.properties:
        item = merging(schema.extra, envelope) if schema.extra is not None else None
        return Schema("map", item=item, atomic=schema.atomic_map)
    made = Schema("object", open=schema.preserve, atomic=schema.atomic_map)
    made.fields.update({k: merging(v, envelope) for k, v in schema.properties.items()})
    if schema.embedded:
        made.fields.update(envelope)
    return made
