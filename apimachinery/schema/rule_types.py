"""What a custom kind's schema says of values, as types of CEL.

Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model/schemas.go``.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apimachinery.cel.messages import Messages

Raw = Mapping[str, Any]

_STRINGS = {"byte": "bytes", "date": "timestamp", "date-time": "timestamp", "duration": "duration"}
_SCALARS = {"integer": "int", "number": "double", "boolean": "bool"}


class Types:
    """The types of one definition; ``messages`` are those of its objects. ``metadata`` is the type of a resource's
    metadata, if rules may look at more than names."""

    def __init__(self, messages: "Messages | None" = None, metadata: str = "") -> None:
        from apimachinery.cel import messages as kept

        self.messages = messages or kept.Messages()
        self._metadata = metadata
        self._objects: dict[int, str] = {}

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
