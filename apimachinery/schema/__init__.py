"""Schemas of all built-in kinds, compiled once from the OpenAPI definitions of ``kubernetes_validate``.

``load()`` reads the cached table in a few milliseconds; types are built when first used, so a process that handles
pods pays for pods. Custom resources are added at run time.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from apimachinery.errors import BadRequest
from apimachinery.schema.compile import Table, load_table
from apimachinery.schema.decode import DROP, Decoder, FieldProblem
from apimachinery.schema.duplicates import duplicate_fields
from apimachinery.schema.fast import checker
from apimachinery.schema.model import Schema, Types
from apimachinery.scheme import Kind

Object = dict[str, Any]

__all__ = ["DecodingError", "FieldProblem", "Schema", "Schemas", "duplicate_fields", "load", "strict_message"]

_OBJECT_META = "apimachinery.pkg.apis.meta.v1.ObjectMeta"


class Schemas:
    """The schema of each kind, built-in or custom."""

    def __init__(self, table: Table) -> None:
        self._definitions: dict[str, str] = table["kinds"]
        self.types = Types(table["types"])
        self._custom: dict[tuple[str, str], Schema] = {}
        self._free = Schema("object", open=True)
        self._free.fields.update(self.envelope())

    def envelope(self) -> dict[str, Schema]:
        """The members that every object has, whatever its kind."""
        string = self.types.of("string")
        return {"apiVersion": string, "kind": string, "metadata": self.types.object(_OBJECT_META)}

    def find(self, api_version: str, kind: str) -> Schema | None:
        """The schema of ``apps/v1``, ``Deployment``; None when there is none."""
        custom = self._custom.get((api_version, kind))
        if custom is not None:
            return custom
        definition = self._definitions.get(f"{api_version} {kind}")
        return self.types.object(definition) if definition is not None else None

    def of(self, kind: Kind) -> Schema:
        """The schema of a kind; for a kind without one, its metadata's and freedom in the rest."""
        return self.find(kind.api_version, kind.kind) or self._free

    def add(self, api_version: str, kind: str, schema: Schema) -> None:
        """Serve a custom kind, or a new schema of one."""
        self._custom[api_version, kind] = schema

    def remove(self, api_version: str, kind: str) -> None:
        self._custom.pop((api_version, kind), None)

    def check(
        self, kind: Kind | Schema, obj: Object, duplicates: Iterable[str] = (), *, keep_empty: bool = False
    ) -> list[FieldProblem]:
        """Decode ``obj`` in place as upstream would, and say what was wrong with it.

        Unknown fields, nulls and what is empty and optional (unless ``keep_empty``) are taken out; quantities and times
        are written canonically. ``duplicates`` are paths from ``duplicate_fields``. An empty list means that ``obj`` is
        exactly what is to be stored.
        """
        schema = kind if isinstance(kind, Schema) else self.of(kind)
        problems = [FieldProblem("duplicate", path, f'duplicate field "{path}"') for path in duplicates]
        if schema.decode is not None:
            return problems + schema.decode(obj)
        if checker(schema)(obj):
            return problems
        decoder = Decoder(keep_empty)
        if decoder.decode(schema, obj) is DROP and not decoder.problems:
            return [FieldProblem("type", "", "json: cannot unmarshal null into an object")]
        return decoder.problems + problems


@cache
def load() -> Schemas:
    """The built-in schemas; one instance a process."""
    return Schemas(load_table())


class DecodingError(BadRequest):
    """A body is no object of ``kind``; ``why`` is a problem's message, or ``strict_message``'s."""

    def __init__(self, kind: Kind, why: str) -> None:
        super().__init__(f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {why}')
        self.why = why


def strict_message(problems: Sequence[FieldProblem]) -> str:
    """What fieldValidation=Strict says of unknown and duplicate fields, all in one."""
    return "strict decoding error: " + ", ".join(p.message for p in problems)
