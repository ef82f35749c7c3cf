"""OpenAPI version 3 of a server that publishes version 2 only: ``kubectl explain`` asks for the newer.

Source: ``k8s.io/kube-openapi/pkg/openapiconv``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
_MEDIA = ("application/json",)
_OF_SCHEMA = ("type", "format", "items", "enum", "default", "minimum", "maximum", "pattern", "uniqueItems")


def to_v3(document: Mapping[str, Any]) -> Object:
    """``document``: paths, definitions and shared parameters of version 2."""
    shared = document.get("parameters") or {}
    paths = {path: _item(item, shared) for path, item in (document.get("paths") or {}).items()}
    schemas = {name: _schema(s) for name, s in (document.get("definitions") or {}).items()}
    info = document.get("info") or {"title": "Generic API Server", "version": ""}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _item(item: Mapping[str, Any], shared: Mapping[str, Any]) -> Object:
    made = {k: v for k, v in item.items() if k.startswith("x-")}
    made |= {method: _operation(item[method], shared) for method in _METHODS if method in item}
    if "parameters" in item:
        made["parameters"] = [_parameter(p) for p in _resolved(item["parameters"], shared)]
    return made


def _operation(operation: Mapping[str, Any], shared: Mapping[str, Any]) -> Object:
    left_out = ("consumes", "produces", "parameters", "responses", "schemes")
    made = {k: v for k, v in operation.items() if k not in left_out}
    parameters = _resolved(operation.get("parameters") or (), shared)
    for body in (p for p in parameters if p.get("in") == "body"):
        about = {k: body[k] for k in ("description", "required") if k in body}
        made["requestBody"] = about | {"content": _content(body.get("schema") or {}, operation.get("consumes"))}
    if others := [_parameter(p) for p in parameters if p.get("in") != "body"]:
        made["parameters"] = others
    made["responses"] = {
        code: _response(response, operation.get("produces"))
        for code, response in (operation.get("responses") or {}).items()
    }
    return made


def _response(response: Mapping[str, Any], produces: Sequence[str] | None) -> Object:
    made: Object = {"description": response.get("description", "")}
    return made | ({"content": _content(response["schema"], produces)} if "schema" in response else {})


def _content(schema: Mapping[str, Any], media: Sequence[str] | None) -> Object:
    return {name: {"schema": _schema(schema)} for name in media or _MEDIA}


def _resolved(parameters: Sequence[Object], shared: Mapping[str, Any]) -> list[Object]:
    named = (p.get("$ref", "").removeprefix("#/parameters/") for p in parameters)
    return [shared.get(name) or p for name, p in zip(named, parameters, strict=True)]


def _parameter(parameter: Mapping[str, Any]) -> Object:
    made = {k: v for k, v in parameter.items() if k not in _OF_SCHEMA and k != "collectionFormat"}
    return made | {"schema": _schema({k: parameter[k] for k in _OF_SCHEMA if k in parameter})}


def _schema(value: Any) -> Any:
    """With references to where version 3 keeps definitions."""
    if isinstance(value, Mapping):
        return {k: _reference(v) if k == "$ref" else _schema(v) for k, v in value.items()}
    return [_schema(v) for v in value] if isinstance(value, list) else value


def _reference(to: Any) -> Any:
    return to.replace("#/definitions/", "#/components/schemas/", 1) if isinstance(to, str) else _schema(to)
