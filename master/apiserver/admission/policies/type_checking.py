"""What the types of the objects that a validating policy is about say of its expressions: warnings in its status.

Source: ``k8s.io/apiserver/pkg/admission/plugin/policy/validating/typechecking.go``.
"""

from collections.abc import Iterator
from typing import Any

from apimachinery import cel, schema
from apimachinery.cel import names
from apimachinery.cel.messages import Messages
from apimachinery.schema import Schema, Schemas
from apimachinery.schema.rule_types import Types
from apimachinery.scheme import Kind

from ...registry.catalog import Catalog
from ...registry.custom.strategy import CustomStrategy
from .environment import Environment

Object = dict[str, Any]
MAX_KINDS = 10
_SCALARS = {
    "string": "string",
    "bool": "bool",
    "int32": "int",
    "int64": "int",
    "double": "double",
    "bytes": "bytes",
    "time": "timestamp",
    "microtime": "timestamp",
}


class Declared:
    """The types of built-in and custom kinds in one set of messages."""

    def __init__(self, schemas: Schemas, catalog: Catalog) -> None:
        self.messages = Messages()
        self._schemas, self._catalog = schemas, catalog
        self._known: dict[int, cel.CelType] = {}

    def kind(self, kind: Kind) -> cel.CelType:
        strategy = self._catalog.strategy(kind)
        if isinstance(strategy, CustomStrategy):
            metadata = self._declare(self._schemas.envelope()["metadata"])
            return Types(self.messages, metadata).declare(strategy.open_api, resource=True)
        return self._declare(self._schemas.of(kind))

    def _declare(self, found: Schema) -> cel.CelType:
        if found.form == "list":
            return f"list<{self._declare(found.item) if found.item else 'dyn'}>"
        if found.form == "map":
            return f"map<string, {self._declare(found.item) if found.item else 'dyn'}>"
        if found.form != "object":
            return _SCALARS.get(found.form, "dyn")
        known = self._known.get(id(found.fields))
        if known is None:
            known = self._known[id(found.fields)] = self.messages.reserve(
                found.type_name.rpartition(".")[2] or "Object"
            )
            members = ((names.escape(n), s) for n, s in found.members().items())
            self.messages.add(known, {n: self._declare(s) for n, s in members if n})
        return known


def check(policy: Object, catalog: Catalog, schemas: Schemas | None = None) -> list[Object]:
    """The ``expressionWarnings`` of a ValidatingAdmissionPolicy."""
    spec = policy["spec"]
    declared = Declared(schemas or schema.load(), catalog)
    params = _params(spec, declared, catalog)
    environments = [(k, _environment(spec, declared, declared.kind(k), params)) for k in kinds_of(spec, catalog)]
    warnings = []
    for index, validation in enumerate(spec.get("validations") or ()):
        for part in ("expression", "messageExpression"):
            told = list(_told(environments, validation.get(part) or ""))
            if told:
                warnings.append({"fieldRef": f"spec.validations[{index}].{part}", "warning": "\n".join(told)})
    return warnings


def _told(environments: list[tuple[Kind, Environment]], expression: str) -> Iterator[str]:
    for kind, environment in environments if expression.strip() else ():
        try:
            environment.compile(expression)
        except cel.CompilationError as error:
            yield f"{kind.api_version}, Kind={kind.kind}: {error}\n"


def _environment(spec: Object, declared: Declared, objects: cel.CelType, params: cel.CelType) -> Environment:
    messages = declared.messages.extended()
    composed = bool(spec.get("variables"))
    environment = Environment(params=params, objects=objects, messages=messages, composed=composed)
    for variable in spec.get("variables") or ():
        try:
            environment.define(variable["name"], variable["expression"])
        except cel.CompilationError:
            continue  # of unknown type then; whether it is right at all was checked when the policy was written
    return environment


def _params(spec: Object, declared: Declared, catalog: Catalog) -> cel.CelType:
    wanted = spec.get("paramKind")
    if not wanted:
        return ""
    kind = catalog.scheme.by_kind(wanted.get("apiVersion", ""), wanted.get("kind", ""))
    return declared.kind(kind) if kind is not None else "dyn"


def kinds_of(spec: Object, catalog: Catalog) -> list[Kind]:
    """The kinds that the rules name without wildcards, in the order of group, version and kind; ten at most."""
    found: dict[tuple[str, str, str], Kind] = {}
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = rule.get("apiGroups") or [], rule.get("apiVersions") or []
        if "*" in groups or "*" in versions:
            continue
        for key in ((g, v, r) for g in sorted(groups) for v in sorted(versions) for r in sorted(rule["resources"])):
            kind = catalog.scheme.by_resource(*key)
            if kind is not None and len(found) < MAX_KINDS:
                found[kind.group, kind.version, kind.kind] = kind
    return [found[k] for k in sorted(found)]
