"""Whether the schema of a custom kind is one: structural, with defaults that fit it, with keys for its lists.

Source: ``k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go`` and
``.../pkg/apiserver/schema/defaulting/validation.go``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from apimachinery import schema as schemas
from apimachinery.patch import copy
from apimachinery.schema.rule_checks import check_rules
from apimachinery.schema.structural import META, compile_root, compile_schema, prune

from ..custom import validation
from .causes import Causes, forbidden, invalid, not_supported, required
from .definition_structure import must_be, structure_of

Object = Mapping[str, Any]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_AT_ROOT_WITH_STATUS = (
    "Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern "
    "MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields "
    "XValidations"
)
_ROOT_KEYS = {n[0].lower() + n[1:] for n in _AT_ROOT_WITH_STATUS.split()} | {
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
}


_PROPS = "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"


def decode_schema(raw: Any) -> str:
    """Bring the schemas that stand where there may also be a boolean or a list, which the decoder passes over, into
    form, in place. What is wrong with their types, or nothing."""
    for key in ("items", "additionalProperties", "additionalItems"):
        nested = raw.get(key)
        if isinstance(nested, dict):
            problems = schemas.load().check(schemas.load().types.object(_PROPS), nested)
            wrong = next((p.message for p in problems if p.form == "type"), "") or decode_schema(nested)
        else:
            other = list if key == "items" else bool
            fits = nested is None or isinstance(nested, other)
            wrong = "" if fits else f"json: cannot unmarshal {nested!r} into {key} of a JSONSchemaProps"
        if wrong:
            return wrong
    branches = [b for key in ("allOf", "anyOf", "oneOf") for b in raw.get(key) or ()]
    branches += [raw["not"]] if raw.get("not") else []
    for nested in (*(raw.get("properties") or {}).values(), *branches):
        if wrong := decode_schema(nested):
            return wrong
    return ""


def check_schema(schema: Object, path: str, *, status: bool) -> Causes:
    """All that is wrong with an ``openAPIV3Schema``. ``status``: the version has a status subresource."""
    causes: Causes = []
    if status:
        odd = next((k for k, v in schema.items() if k not in _ROOT_KEYS and v), None)
        if odd:
            told = (
                f"only [{_AT_ROOT_WITH_STATUS}] fields are allowed at the root of the schema if the status subresource"
            )
            causes.append(invalid(path, schema, f"{told} is enabled"))
    if schema.get("nullable"):
        causes.append(forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    structure = sorted(structure_of(schema, path, "root"), key=lambda c: (c.field, c.message))
    causes += structure + _schema(schema, path, _Place(root=True))
    return causes or _defaults(schema, path) or check_rules(schema, path)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a schema something stands. ``no_defaults`` tells why there may be none."""

    root: bool = False
    in_metadata: bool = False
    no_defaults: str | None = None


def _schema(schema: Object, path: str, place: _Place) -> Causes:
    """The keywords of one node, and below."""
    causes = _keywords(schema, path, place)
    below = replace(place, root=False)
    extra = schema.get("additionalProperties")
    if extra is not None and schema.get("properties") and extra is not True:
        told = "additionalProperties and properties are mutual exclusive"
        causes.append(forbidden(f"{path}.additionalProperties", told))
    if isinstance(extra, Mapping):
        inside = below
        if place.in_metadata:
            inside = replace(below, no_defaults="inside additionalProperties applying to object metadata")
        causes += _schema(extra, f"{path}.additionalProperties", inside)
    for name, member in (schema.get("properties") or {}).items():
        inside = below
        if name in META and (place.root or schema.get("x-kubernetes-embedded-resource")):
            inside = replace(below, in_metadata=True)
            if place.root:
                inside = replace(inside, no_defaults=f"in top-level {name}")
        causes += _schema(member, f"{path}.properties[{name}]", inside)
    if isinstance(schema.get("items"), Mapping):
        causes += _schema(schema["items"], f"{path}.items", below)
    for junctor in ("allOf", "oneOf", "anyOf"):
        for index, nested in enumerate(schema.get(junctor) or ()):
            causes += _schema(nested, f"{path}.{junctor}[{index}]", below)
    if schema.get("not"):
        causes += _schema(schema["not"], f"{path}.not", below)
    return causes


def _keywords(schema: Object, path: str, place: _Place) -> Causes:
    causes: Causes = []
    kind = schema.get("type") or ""
    if kind == "null":
        causes.append(forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative"))
    if kind and kind not in _TYPES:
        causes.append(not_supported(f"{path}.type", kind, _TYPES))
    if schema.get("default") is not None and place.no_defaults is not None:
        causes.append(forbidden(f"{path}.default", f"must not be set {place.no_defaults}"))
    causes += [forbidden(f"{path}.{k}", f"{k} is not supported") for k in _UNSUPPORTED if schema.get(k)]
    if isinstance(schema.get("items"), list):
        causes.append(forbidden(f"{path}.items", "items must be a schema object and not an array"))
    if place.in_metadata and schema.get("x-kubernetes-embedded-resource"):
        where = f"{path}.x-kubernetes-embedded-resource"
        causes.append(forbidden(where, "must not be used inside of resource meta"))
    if schema.get("uniqueItems"):
        told = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        causes.append(forbidden(f"{path}.uniqueItems", told))
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        where = f"{path}.x-kubernetes-preserve-unknown-fields"
        causes.append(invalid(where, False, "must be true or undefined"))
    return causes + _map_type(schema, path) + _list_type(schema, path)


def _map_type(schema: Object, path: str) -> Causes:
    form = schema.get("x-kubernetes-map-type")
    if form is None:
        return []
    causes = must_be(schema, path, "object", "x-kubernetes-map-type is specified")
    if form not in ("atomic", "granular"):
        causes.append(not_supported(f"{path}.x-kubernetes-map-type", form, ("atomic", "granular")))
    return causes


def _list_type(schema: Object, path: str) -> Causes:
    form, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    where = f"{path}.x-kubernetes-list-type"
    causes: Causes = []
    if keys and form != "map":
        told = "must be map if x-kubernetes-list-map-keys is non-empty"
        causes.append(invalid(where, form, told) if form else required(where, told))
    if form is None:
        return causes
    causes += must_be(schema, path, "array", "x-kubernetes-list-type is specified")
    if form not in ("atomic", "set", "map"):
        causes.append(not_supported(where, form, ("atomic", "set", "map")))
    items = schema.get("items")
    if not isinstance(items, Mapping):
        items = {}
    if form in ("set", "map") and items.get("nullable"):
        causes.append(forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {form}"))
    if form == "set":
        causes += _set_items(items, path)
    return causes + (_list_map(schema, keys, items, path) if form == "map" else [])


def _set_items(items: Object, path: str) -> Causes:
    told = "must be atomic as item of a list with x-kubernetes-list-type=set"
    list_type, map_type = items.get("x-kubernetes-list-type"), items.get("x-kubernetes-map-type")
    if items.get("type") == "array" and list_type not in (None, "atomic"):
        return [invalid(f"{path}.items.x-kubernetes-list-type", list_type, told)]
    if items.get("type") == "object" and map_type != "atomic":
        return [invalid(f"{path}.items.x-kubernetes-map-type", map_type, told)]
    return []


def _list_map(schema: Object, keys: list[str], items: Object, path: str) -> Causes:
    where = f"{path}.x-kubernetes-list-map-keys"
    causes: Causes = []
    if not keys:
        causes.append(required(where, "must not be empty if x-kubernetes-list-type is map"))
    if not isinstance(schema.get("items"), Mapping):
        causes.append(required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map"))
        return causes
    if items.get("type") != "object":
        told = "must be object if parent array's x-kubernetes-list-type is map"
        return [*causes, invalid(f"{path}.items.type", items.get("type", ""), told)]
    properties = items.get("properties") or {}
    if any(k not in properties for k in keys):
        causes.append(invalid(where, keys, "entries must all be names of item properties"))
    if len(set(keys)) < len(keys):
        causes.append(invalid(where, keys, "must not contain duplicate entries"))
    for key in (k for k in keys if k in properties):
        causes += _list_key(properties[key], f"{path}.items.properties[{key}]", key in (items.get("required") or ()))
    return causes


def _list_key(schema: Object, path: str, is_required: bool) -> Causes:
    causes: Causes = []
    is_key = "this property is in x-kubernetes-list-map-keys, so it"
    if schema.get("type") in ("array", "object"):
        told = "must be a scalar type if parent array's x-kubernetes-list-type is map"
        causes.append(invalid(f"{path}.type", schema["type"], told))
    if not is_required and schema.get("default") is None:
        causes.append(required(f"{path}.default", f"{is_key} must have a default or be a required property"))
    if schema.get("nullable"):
        causes.append(forbidden(f"{path}.nullable", f"{is_key} cannot be nullable"))
    return causes


def _defaults(schema: Object, path: str) -> Causes:
    """Defaults hold nothing that would be pruned or refused."""
    causes: Causes = []
    default = schema.get("default")
    if default is not None:
        structural = (compile_root if schema.get("x-kubernetes-embedded-resource") else compile_schema)(schema)
        pruned = copy(default)
        if prune(pruned, structural):
            causes.append(invalid(f"{path}.default", default, "must not have unknown fields"))
        where = f"{path}.default"
        causes += [replace(c, field=_default_field(where, c.field)) for c in validation.check(default, structural)]
    for name, member in (schema.get("properties") or {}).items():
        causes += _defaults(member, f"{path}.properties[{name}]")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), Mapping):
            causes += _defaults(schema[name], f"{path}.{name}")
    return causes


def _default_field(where: str, field: str) -> str:
    return where if field in ("", "<nil>") else f"{where}.{field}"
