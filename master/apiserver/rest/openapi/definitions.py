"""Definitions as OpenAPI wants them: without what JSON Schema adds, references in the form of the version."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from apimachinery.scheme import Kind

Object = dict[str, Any]
Version = Literal["v2", "v3"]

_WAS = "#/$defs/"
REFERENCE = {"v2": "#/definitions/", "v3": "#/components/schemas/"}
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_JSON = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"


def reference(name: str, version: Version) -> Object:
    return {"$ref": REFERENCE[version] + name}


def convert(name: str, definition: Mapping[str, Any], version: Version) -> Object:
    """One definition of the package as one of an OpenAPI document."""
    if name == _QUANTITY:
        return {"description": definition.get("description", "")} | _either(version, "string", "number")
    if name == _INT_OR_STRING:
        return {"format": "int-or-string"} | _either(version, "integer", "string")
    if name.startswith(_JSON) and "properties" not in definition:
        return {"description": definition.get("description", "")}
    return _schema(definition, version)


def _either(version: Version, *types: str) -> Object:
    if version == "v2":
        return {"type": "string"}
    return {"oneOf": [{"type": t} for t in types]}


def _schema(schema: Mapping[str, Any], version: Version) -> Object:
    out: Object = {k: v for k, v in schema.items() if k.startswith("x-") or k in ("description", "format", "required")}
    if "$ref" in schema:
        target = reference(schema["$ref"].removeprefix(_WAS), version)
        # Version 3 reads nothing beside a $ref.
        return out | {"allOf": [target]} if version == "v3" and out else out | target
    kind = schema.get("type")
    if kind is not None:
        out["type"] = kind if isinstance(kind, str) else kind[0]
    if "properties" in schema:
        out["properties"] = {k: _schema(v, version) for k, v in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            out[key] = _schema(schema[key], version)
    return out


def reachable(names: Iterable[str], definitions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The definitions that ``names`` refer to, themselves included, in order of name."""
    found: set[str] = set()
    todo = [n for n in names if n in definitions]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += _references(definitions[name])
    return sorted(found)


def _references(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        own = [value["$ref"].removeprefix(_WAS)] if isinstance(value.get("$ref"), str) else []
        return own + [r for v in value.values() for r in _references(v)]
    return [r for v in value for r in _references(v)] if isinstance(value, list) else []


def names_by_kind(definitions: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str, str], str]:
    """Group, version and kind to the definition's name."""
    return {
        (gvk["group"], gvk["version"], gvk["kind"]): name
        for name, definition in definitions.items()
        for gvk in definition.get("x-kubernetes-group-version-kind", ())
    }


def custom_name(kind: Kind) -> str:
    """``com.example.v1.Widget``: the group reversed, as upstream names what definitions add."""
    return ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind])


def computed(kind: Kind) -> dict[str, Object]:
    """The definitions of a kind without a schema and of its list, in the package's form."""
    name = custom_name(kind)
    envelope: Object = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
    meta = {"metadata": {"$ref": f"{_WAS}{_META}ObjectMeta"}}
    known: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {**envelope, **meta}}
    known["x-kubernetes-group-version-kind"] = [_gvk(kind, kind.kind)]
    items = {"type": "array", "items": {"$ref": _WAS + name}}
    listed = {**envelope, "metadata": {"$ref": f"{_WAS}{_META}ListMeta"}, "items": items}
    of_list: Object = {"type": "object", "required": ["items"], "properties": listed}
    of_list["x-kubernetes-group-version-kind"] = [_gvk(kind, f"{kind.kind}List")]
    return {name: known, f"{name}List": of_list}


def _gvk(kind: Kind, name: str) -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "kind": name}
