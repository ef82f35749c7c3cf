"""Whether a schema is structural: every field is specified once outside of ``allOf``, ``anyOf``, ``oneOf`` and ``not``,
which only restrict values.

Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema/validation.go``.
"""

import re
from collections.abc import Mapping
from typing import Any

from ..custom import validation
from .causes import Causes, forbidden, invalid, required

Object = Mapping[str, Any]

_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_NOT_NESTED = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "externalDocs": "must be undefined to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}


def must_be(schema: Object, path: str, wanted: str, because: str) -> Causes:
    """A node has to be of a type, because of something else in it."""
    kind = schema.get("type") or ""
    told = f"must be {wanted} if {because}"
    if kind == wanted:
        return []
    return [invalid(f"{path}.type", kind, told) if kind else required(f"{path}.type", told)]


def structure_of(schema: Object, path: str, level: str) -> Causes:
    """What makes a schema structural; ``level`` is ``root``, ``field`` or ``item``."""
    causes: Causes = []
    items, extra = schema.get("items"), schema.get("additionalProperties")
    if schema.get("type") == "array" and items is None:
        causes.append(required(f"{path}.items", "must be specified"))
    if isinstance(items, Mapping):
        causes += structure_of(items, f"{path}.items", "item")
    for name, member in (schema.get("properties") or {}).items():
        causes += structure_of(member, f"{path}.properties[{name}]", "field")
    if extra and level == "root":
        causes.append(forbidden(f"{path}.additionalProperties", "must not be used at the root"))
    if isinstance(extra, Mapping):
        causes += structure_of(extra, f"{path}.additionalProperties", "field")
    return causes + _node_type(schema, path, level) + _metadata(schema, path, level) + _values(schema, schema, path)


def _node_type(schema: Object, path: str, level: str) -> Causes:
    kind, embedded = schema.get("type") or "", schema.get("x-kubernetes-embedded-resource")
    either, preserve = schema.get("x-kubernetes-int-or-string"), schema.get("x-kubernetes-preserve-unknown-fields")
    causes: Causes = []
    told = "must be false if x-kubernetes-int-or-string is true"
    if either and preserve:
        causes.append(invalid(f"{path}.x-kubernetes-preserve-unknown-fields", preserve, told))
    if either and embedded:
        causes.append(invalid(f"{path}.x-kubernetes-embedded-resource", embedded, told))
    if embedded:
        causes += must_be(schema, path, "object", "x-kubernetes-embedded-resource is true")
        if schema.get("additionalProperties"):
            where = f"{path}.additionalProperties"
            causes.append(forbidden(where, "must not be used if x-kubernetes-embedded-resource is set"))
        if not preserve and not schema.get("properties"):
            told = "must not be empty if x-kubernetes-embedded-resource is true without "
            causes.append(required(f"{path}.properties", f"{told}x-kubernetes-preserve-unknown-fields"))
    elif not kind and not either and not preserve:
        empty = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}
        causes.append(required(f"{path}.type", f"must not be empty {empty[level]}"))
    if level == "root" and kind not in ("", "object"):
        causes.append(invalid(f"{path}.type", kind, "must be object at the root"))
    return causes


def _metadata(schema: Object, path: str, level: str) -> Causes:
    """What a schema may say of the members that every resource has: of metadata, only its names."""
    if level != "root" and not schema.get("x-kubernetes-embedded-resource"):
        return []
    properties = schema.get("properties") or {}
    causes: Causes = []
    for name in ("kind", "apiVersion"):
        if name in properties and properties[name].get("type") != "string":
            where = f"{path}.properties[{name}].type"
            causes.append(invalid(where, properties[name].get("type", ""), "must be string"))
    metadata = properties.get("metadata")
    if metadata is None:
        return causes
    where = f"{path}.properties[metadata]"
    if metadata.get("type") != "object":
        causes.append(invalid(f"{where}.type", metadata.get("type", ""), "must be object"))
    more = {k for k, v in metadata.items() if v} - {"type", "description", "properties"}
    if level == "root" and (more or set(metadata.get("properties") or ()) - {"name", "generateName"}):
        told = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        causes.append(forbidden(where, told))
    return causes


def _values(schema: Object, structure: Object | None, path: str) -> Causes:
    """What restricts values: under ``allOf`` and the like nothing but restrictions of what is specified outside."""
    causes: Causes = []
    pattern = schema.get("pattern")
    if pattern:
        try:
            validation.go_regex(pattern)
        except ValueError as error:
            told = f"must be a valid regular expression, but isn't: {error}"
            causes.append(invalid(f"{path}.pattern", pattern, told))
    for junctor in ("anyOf", "allOf", "oneOf"):
        for index, branch in enumerate(schema.get(junctor) or ()):
            if junctor == "anyOf" and _is_int_or_string(schema, structure):
                continue
            causes += _nested(branch, structure, f"{path}.{junctor}[{index}]")
    if schema.get("not"):
        causes += _nested(schema["not"], structure, f"{path}.not")
    return causes


def _is_int_or_string(schema: Object, structure: Object | None) -> bool:
    return schema.get("anyOf") == _INT_OR_STRING and bool((structure or {}).get("x-kubernetes-int-or-string"))


def _nested(schema: Object, structure: Object | None, path: str) -> Causes:
    causes = [forbidden(f"{path}.{k}", why) for k, why in _NOT_NESTED.items() if schema.get(k)]
    properties = schema.get("properties") or {}
    if "metadata" in properties:
        where = f"{path}.properties[metadata]"
        causes.append(forbidden(where, "must not be specified in a nested context"))
    known = (structure or {}).get("properties") or {}
    extra = (structure or {}).get("additionalProperties")
    for name, member in properties.items():
        outside = known.get(name) if name in known else extra if isinstance(extra, Mapping) else None
        if structure is not None and outside is None:
            causes.append(required(_outside(path, f"properties[{name}]"), _because(path, f"properties[{name}]")))
        causes += _nested(member, outside, f"{path}.properties[{name}]")
    if isinstance(schema.get("items"), Mapping):
        outside = (structure or {}).get("items")
        if structure is not None and outside is None:
            causes.append(required(_outside(path, "items"), _because(path, "items")))
        causes += _nested(schema["items"], outside, f"{path}.items")
    return causes + _values(schema, structure, path)


_JUNCTORS = re.compile(r"\.(allOf|anyOf|oneOf)\[[0-9]+\]|\.not(?=\.|$)")


def _outside(path: str, member: str) -> str:
    """Where a member that a branch restricts should have been specified: the same path without the branches."""
    return _JUNCTORS.sub("", f"{path}.{member}")


def _because(path: str, member: str) -> str:
    return f"because it is defined in {path}.{member}"
