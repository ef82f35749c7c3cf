"""What a custom kind's schema says of values, as types of CEL.

Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model/schemas.go``.
"""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apimachinery.cel.messages import Messages

Raw = Mapping[str, Any]

_STRINGS = {"byte": "bytes", "date": "timestamp", "date-time": "timestamp", "duration": "duration"}
_SCALARS = {"integer": "int", "number": "double", "boolean": "bool"}


@dataclass(frozen=True, slots=True)
class Names:
    """What the checker knows ``self`` and ``oldSelf`` of one type as."""

    own: str
    old: str
    optional_old: str

    def translate(self, expression: str, optional: bool) -> str:
        """An expression about these; its columns stay."""
        by = {"self": self.own, "oldSelf": self.optional_old if optional else self.old}
        return _WORDS.sub(lambda found: by.get(found[0], found[0]), expression)

    def restore(self, text: str) -> str:
        """The checker's words about a translated expression, in those of its author."""
        for name, plain in ((self.own, "self"), (self.old, "oldSelf"), (self.optional_old, "oldSelf")):
            text = text.replace(name, plain)
        return text


_TEXT = r"""[rRbB]*(?:'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")|//[^\n]*"""
_WORDS = re.compile(rf"{_TEXT}|\.\s*\??\s*\w+|\w+", re.DOTALL)
_DIGITS = string.digits + string.ascii_letters


def _name(prefix: str, number: int) -> str:
    """A name with two digits of base 62; their alphabet ends at 3,844 types, which no definition has."""
    return prefix + _DIGITS[number // 62 % 62] + _DIGITS[number % 62]


class Types:
    """The types of one definition; ``messages`` are those of its objects. ``metadata`` is the type of a resource's
    metadata, if rules may look at more than names."""

    def __init__(self, messages: "Messages | None" = None, metadata: str = "") -> None:
        from apimachinery.cel import messages as kept

        self.messages = messages or kept.Messages()
        self._metadata = metadata
        self.variables: dict[str, str] = {}
        """``self`` and ``oldSelf`` of every type, each by a name of the same length, so that one environment of the
        checker serves all rules of a definition: to make one takes as long as to check a hundred rules."""
        self._names: dict[str, Names] = {}
        self._objects: dict[int, str] = {}

    def names(self, cel_type: str) -> "Names":
        known = self._names.get(cel_type)
        if known is None:
            count = len(self._names)
            known = self._names[cel_type] = Names(*(_name(prefix, count) for prefix in ("_s", "_oldS", "_optS")))
            optional = f"optional_type<{cel_type}>"
            self.variables |= {known.own: cel_type, known.old: cel_type, known.optional_old: optional}
        return known

    def prepare(self, schema: Raw, *, resource: bool = False) -> str:
        """Declare the type of a value, and all those inside that rules may be about."""
        found = self.declare(schema, resource=resource)
        self.names(found)
        inner = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
        for member in inner:
            if isinstance(member, Mapping):
                self.prepare(member)
        return found

    def declare(self, schema: Raw, *, resource: bool = False) -> str:
        """The CEL type of a value. ``resource``: its root also has apiVersion, kind and metadata."""
        kind = schema.get("type") or ""
        if schema.get("x-kubernetes-int-or-string"):
            return "dyn"
        if kind == "string":
            return _STRINGS.get(schema.get("format") or "", "string")
        if kind == "array":
            items = schema.get("items")
            return f"list<{self.declare(items) if isinstance(items, Mapping) else 'dyn'}>"
        if kind == "object":
            known = self._objects.get(id(schema))
            if known is None:
                resource = resource or bool(schema.get("x-kubernetes-embedded-resource"))
                known = self._objects[id(schema)] = self._object(schema, resource)
            return known
        return _SCALARS.get(kind, "dyn")

    def _object(self, schema: Raw, resource: bool) -> str:
        extra = schema.get("additionalProperties")
        if extra and not resource:
            return f"map<string, {self.declare(extra) if isinstance(extra, Mapping) else 'dyn'}>"
        from apimachinery.cel import names

        fields = {}
        for name, member in (schema.get("properties") or {}).items():
            escaped = names.escape(name)
            if escaped and (member.get("type") or member.get("x-kubernetes-int-or-string")):
                fields[escaped] = self.declare(member)
        full = self.messages.reserve("Object")
        if resource:
            if not self._metadata:
                names_of = {"name": "string", "generateName": "string"}
                self._metadata = self.messages.add(self.messages.reserve("Metadata"), names_of)
            fields |= {"apiVersion": "string", "kind": "string", "metadata": self._metadata}
        return self.messages.add(full, fields)
