"""What custom kinds publish: their definitions and paths, as pieces that are put between those of the built-in kinds.

A kind's piece is made once, when its definition has changed; a document is then joined, not encoded again.

Source: ``k8s.io/apiextensions-apiserver/pkg/controller/openapi`` (``builder``, ``v2/conversion.go``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from apimachinery.schema import compile as package

from ...registry.strategy import Strategy
from ...registry.subresources import subresource_kind
from . import definitions as defs
from .definitions import Version
from .paths import PathWriter

Object = dict[str, Any]

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_SCALE = ("autoscaling", "v1", "Scale")
_SHARED = (*(_META + n for n in ("ObjectMeta", "ListMeta", "Status", "Patch")), "io.k8s.api.autoscaling.v1.Scale")
_LIKE = "io.k8s.api.core.v1.ConfigMapList", "io.k8s.api.core.v1.ConfigMap"
_JUNCTORS = ("allOf", "anyOf", "oneOf", "not")
_V2_DROPS = (*_JUNCTORS, "nullable")


@dataclass(frozen=True, slots=True)
class Piece:
    """Members of ``paths`` and of the definitions, encoded, without the braces."""

    paths: bytes
    schemas: bytes


class Common:
    """What all custom kinds take from the built-in ones."""

    def __init__(self) -> None:
        definitions = package.definitions()
        names = defs.reachable(_SHARED, definitions)
        self.shared = _inside({n: defs.convert(n, definitions[n], "v3") for n in names})
        made = {v: [defs.convert(n, definitions[n], v)["properties"] for n in _LIKE] for v in _VERSIONS}
        self.list_envelope = {v: _only(p[0], "apiVersion", "kind", "metadata") for v, p in made.items()}
        self.envelope = {v: _only(p[1], "apiVersion", "kind", "metadata") for v, p in made.items()}


_VERSIONS: tuple[Version, ...] = ("v2", "v3")


def _only(properties: Object, *names: str) -> Object:
    return {n: properties[n] for n in names}


def _inside(members: Object) -> bytes:
    return orjson.dumps(members)[1:-1]


def piece(strategy: Strategy, version: Version, common: Common) -> Piece:
    """What one kind adds to a document."""
    kind, name = strategy.kind, defs.custom_name(strategy.kind)
    list_name = name.removesuffix(kind.kind) + kind.list_kind
    gvk = {"group": kind.group, "version": kind.version}
    known = {(kind.group, kind.version, kind.kind): name, (kind.group, kind.version, kind.list_kind): list_name}
    writer = PathWriter(version, {**known, _SCALE: _SHARED[-1]}, subresource_kind, strategic=False)
    schema = published(strategy.open_api or {}, version, common.envelope[version])
    schema["x-kubernetes-group-version-kind"] = [{**gvk, "kind": kind.kind}]
    told = f"List of {kind.resource}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/"
    items = {"type": "array", "items": defs.reference(name, version), "description": f"{told}api-conventions.md"}
    listed: Object = {
        "description": f"{kind.list_kind} is a list of {kind.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {**common.list_envelope[version], "items": items},
        "x-kubernetes-group-version-kind": [{**gvk, "kind": kind.list_kind}],
    }
    return Piece(_inside(writer.paths(kind)), _inside({name: schema, list_name: listed}))


def published(raw: Mapping[str, Any], version: Version, envelope: Object) -> Object:
    """The schema of a custom kind as a document has it. Version 2 has no room for what its root may hold besides."""
    if version == "v2" and raw.get("x-kubernetes-preserve-unknown-fields"):
        return {"type": "object"}
    schema = _schema(raw, version, envelope)
    schema["properties"] = {**schema.get("properties", {}), **envelope}
    return schema


def _schema(raw: Mapping[str, Any], version: Version, envelope: Object) -> Object:
    out = {k: v for k, v in raw.items() if v or not k.startswith("x-")}
    if version == "v3" and raw.get("x-kubernetes-int-or-string") and "anyOf" not in raw:
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "properties" in raw:
        out["properties"] = {k: _schema(v, version, envelope) for k, v in raw["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(raw.get(key), Mapping):
            out[key] = _schema(raw[key], version, envelope)
    if version == "v2":
        _reduce(out, raw)
    if raw.get("x-kubernetes-embedded-resource") and (version == "v3" or not _preserves(raw)):
        out["properties"] = {**out.get("properties", {}), **envelope}
        out["required"] = list(dict.fromkeys([*out.get("required", ()), "kind", "apiVersion"]))
    return out


def _preserves(raw: Mapping[str, Any]) -> bool:
    return bool(raw.get("x-kubernetes-preserve-unknown-fields"))


def _reduce(out: Object, raw: Mapping[str, Any]) -> None:
    """Take away what version 2 cannot say, or what kubectl misunderstands in it."""
    drop = list(_V2_DROPS)
    if raw.get("nullable"):
        drop += ["type", "items", "properties"]
    if _preserves(raw):
        drop += ["items", "properties"] + (["type"] if raw.get("type") in ("object", "array") else [])
    for key in drop:
        out.pop(key, None)
    extra = raw.get("additionalProperties")
    members = raw["properties"] if "properties" in out else {}
    nullable = {k for k, v in members.items() if v.get("nullable")}
    required = [r for r in out.get("required", ()) if r not in nullable]
    if not required or (isinstance(extra, Mapping) and extra.get("nullable")):
        out.pop("required", None)
    else:
        out["required"] = required


def join_v2(builtin: bytes, pieces: Iterable[Piece]) -> bytes:
    """The document of version 2 with these pieces in it."""
    pieces = list(pieces)
    paths = builtin.index(b'"paths":{') + len(b'"paths":{')
    own = b"".join(p.paths + b"," for p in pieces)
    return b"%b%b%b%b}}" % (builtin[:paths], own, builtin[paths:-2], b"".join(b"," + p.schemas for p in pieces))


def join_v3(pieces: Iterable[Piece], common: Common) -> bytes:
    """The document of one group and version."""
    pieces = list(pieces)
    head = b'{"openapi":"3.0.0","info":{"title":"Kubernetes","version":"v1.36.0"},"paths":{'
    schemas = b",".join([*(p.schemas for p in pieces), common.shared])
    return b'%b%b},"components":{"schemas":{%b}}}' % (head, b",".join(p.paths for p in pieces), schemas)
