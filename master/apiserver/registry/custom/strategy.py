"""What one served version of a definition adds to the write pipeline.

Source: ``k8s.io/apiextensions-apiserver/pkg/registry/customresource``.
"""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

from apimachinery import jsonpath
from apimachinery.cel import OBJECT_BUDGET
from apimachinery.cel.spending import spend
from apimachinery.duration import since
from apimachinery.errors import Cause, InternalError, MethodNotAllowed
from apimachinery.patch import copy
from apimachinery.schema import FieldProblem, Schema
from apimachinery.schema.decode import Decoder
from apimachinery.schema.rules import Rules, compile_rules
from apimachinery.schema.structural import Structural, compile_root, fill_defaults, merging, prune, resources
from apimachinery.scheme import Kind

from ...storage import codec
from ..kinds.printing import NAME, at
from ..parts import scale
from ..strategy import Column, Strategy
from . import validation
from .validation import UNKNOWN
from .views import Translation

Object = dict[str, Any]

_AGE: Object = {
    "name": "Age",
    "type": "date",
    "jsonPath": ".metadata.creationTimestamp",
    "description": "CreationTimestamp is a timestamp representing the server time when this object was created.",
}


_NOTHING = object()
_BLOCKING = (
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
)
_NOT_ASKED = Cause(
    "FieldValueInvalid",
    'Invalid value: "null": some validation rules were not checked because the object was invalid; correct the '
    "existing errors to complete validation",
    "<nil>",
)


class CustomStrategy(Strategy):
    """``version`` is one of ``spec.versions`` of a definition. The schema is compiled when first needed: a server may
    have hundreds. ``reading`` and ``storing``, which translate, and ``terminating`` (the definition is being deleted)
    are set by who serves the version."""

    translated = True
    status_metadata = ()

    def __init__(self, kind: Kind, version: Object, envelope: Mapping[str, Schema]) -> None:
        super().__init__(kind)
        self.open_api: Object = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        self.columns = (NAME, *map(column, version.get("additionalPrinterColumns") or (_AGE,)))
        self.field_labels = dict(map(_selectable, version.get("selectableFields") or ()))
        self.deprecated = ""
        if version.get("deprecated"):
            self.deprecated = version.get("deprecationWarning") or f"{kind.api_version} {kind.kind} is deprecated"
        self._scale: Object = (version.get("subresources") or {}).get("scale") or {}
        self.replicas_path = self._scale.get("specReplicasPath", "").lstrip(".")
        self._envelope = envelope
        self.reading: Translation | None = None
        self.storing: Translation | None = None
        self.terminating = False

    @cached_property
    def structural(self) -> Structural:
        return compile_root(self.open_api)

    def schema(self) -> Schema:
        """What the pipeline checks bodies by, and merges by."""
        preserve = bool(self.open_api.get("x-kubernetes-preserve-unknown-fields"))
        made = Schema("object", self.kind.kind, open=preserve, decode=self.decode)
        made.resolve = lambda: made.fields.update(merging(self.structural, self._envelope).fields)
        return made

    def decode(self, obj: Object) -> list[FieldProblem]:
        """Prune a body in place; what was unknown in it, and what no object can have."""
        decoder = Decoder()
        unknown = prune(obj, self.structural)
        metadata = self._envelope["metadata"]
        for path, resource in [("", obj), *resources(obj, self.structural)]:
            if resource.get("metadata", _NOTHING) is None:
                del resource["metadata"]
            if "metadata" in resource:
                place = f"{path}.metadata" if path else "metadata"
                decoder.decode(metadata, resource["metadata"], place, "ObjectMeta")
        found = sorted([*unknown, *(p.path for p in decoder.problems if p.form == "unknown")])
        wrong = [p for p in decoder.problems if p.form != "unknown"]
        return wrong + [FieldProblem("unknown", p, f'unknown field "{p}"') for p in found]

    def coerce(self, obj: Object) -> None:
        """What a stored object of this version is read as: its schema may be newer than it."""
        prune(obj, self.structural)
        fill_defaults(obj, self.structural)

    async def load(self, data: bytes) -> bytes:
        assert self.reading is not None, "a served version can be read"  # noqa: S101 - who serves it sets it
        before = codec.decode(data)
        (obj,) = await self.reading.objects([codec.decode(data)])
        return data if obj == before else codec.with_version_of(obj, data)

    async def store(self, obj: Object) -> Object:
        assert self.storing is not None, "a served version can be stored"  # noqa: S101 - who serves it sets it
        if obj["apiVersion"] == self.storing.api_version:
            return obj
        (stored,) = await self.storing.objects([copy(obj)])
        return stored

    async def converted(self, obj: Object) -> Object:
        """Raises ApiError."""
        if self.reading is None or obj["apiVersion"] == self.kind.api_version:
            return obj
        (made,) = await self.reading.objects([copy(obj)])
        return made

    def default(self, obj: Object) -> None:
        obj["apiVersion"] = self.kind.api_version
        self.coerce(obj)

    def prepare_create(self, obj: Object) -> None:
        """Raises MethodNotAllowed."""
        if self.terminating:
            kind = self.kind
            told = "create not allowed while custom resource definition is terminating"
            raise MethodNotAllowed(told, group=kind.group, kind=kind.resource)

    def validate(self, obj: Object) -> list[Cause]:
        return validation.check(obj, self.structural)

    def validate_change(self, obj: Object, old: Object) -> list[Cause]:
        return validation.check(obj, self.structural, old)

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        status = self.structural.properties.get("status")
        causes: list[Cause] = []
        if status is not None and "status" in obj:
            causes = validation.check(obj["status"], status, old.get("status", UNKNOWN), "status")
        return causes

    @cached_property
    def _rules(self) -> Rules:
        return compile_rules(self.open_api)

    async def judge(self, obj: Object, old: Object | None, causes: list[Cause]) -> list[Cause]:
        """What the schema's rules find; they are only asked about values of the right shape."""
        if not self._rules:
            return []
        if any(c.reason in _BLOCKING for c in causes):
            return [_NOT_ASKED]
        return await spend(partial(self._rules.check, obj, old), OBJECT_BUDGET)

    def to_scale(self, obj: Object) -> Object:
        """Raises InternalError for an object without replicas."""
        replicas = at(obj, self.replicas_path)
        if replicas is None:
            raise InternalError(f'the spec replicas field ".{self.replicas_path}" does not exist')
        current = at(obj, self._scale["statusReplicasPath"].lstrip("."), 0)
        selector = at(obj, (self._scale.get("labelSelectorPath") or "").lstrip("."), "")
        return scale(obj, replicas, current, selector)


def column(definition: Object) -> Column:
    """One of ``additionalPrinterColumns``."""
    path, form = definition["jsonPath"], definition["type"]

    def value(obj: Object) -> object:
        found = jsonpath.evaluate(path, obj)
        return cell(form, found[0]) if found else None

    priority, description = definition.get("priority") or 0, definition.get("description") or ""
    return Column(definition["name"], form, value, definition.get("format") or "", priority, description)


def cell(form: str, value: Any) -> object:
    """What a column of a type shows of a value; None for a value of another type."""
    match form, value:
        case "boolean", bool():
            return value
        case (("integer" | "number" | "boolean"), bool()):
            return None
        case "integer", int() | float():
            return int(value)
        case "number", int() | float():
            return value
        case "date", str():
            return _age(value)
        case "string", str():
            return value
        case "string", _:
            return codec.plain(value).decode()
    return None


def _age(timestamp: str) -> str:
    try:
        return since(timestamp)
    except (ValueError, TypeError):
        return "<invalid>"


def _selectable(field: Object) -> tuple[str, Callable[[Object], str]]:
    path = field["jsonPath"].lstrip(".")

    def value(obj: Object) -> str:
        found = at(obj, path, "")
        return ("true" if found else "false") if isinstance(found, bool) else str(found)

    return path, value
