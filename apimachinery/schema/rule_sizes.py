"""How large values of a schema can be: what the cost of a rule about them is estimated by.

Source: ``k8s.io/apiserver/pkg/cel/common/schemas.go``, ``.../pkg/cel/limits.go``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Raw = Mapping[str, Any]
REQUEST_BYTES = 3 * 1024 * 1024
_LONGEST = {"date": 12, "date-time": 32, "duration": 32}
_SHORTEST = {"date": 12, "date-time": 21, "duration": 3}
_SCALARS = {"integer": 1, "number": 1, "boolean": 4}
_STRING: Raw = {"type": "string"}
_KEY: Raw = {"type": "string", "maxLength": 0}
"""A map's key: upstream takes it for empty."""
_METADATA: Raw = {"type": "object", "properties": {"name": _STRING, "generateName": _STRING}}


def resource(schema: Raw) -> Raw:
    """The schema of a resource's root, where rules see the envelope whether it is told of or not."""
    own = {"apiVersion": _STRING, "kind": _STRING, "metadata": _METADATA}
    return {**schema, "properties": {**(schema.get("properties") or {}), **own}}


def visible(schema: Any) -> bool:
    """Whether rules can see values of this schema."""
    if not isinstance(schema, Mapping):
        return False
    if schema.get("x-kubernetes-int-or-string"):
        return True
    kind = schema.get("type")
    if kind == "array":
        return visible(schema.get("items"))
    extra = schema.get("additionalProperties")
    return kind in ("string", *_SCALARS) or (kind == "object" and (not isinstance(extra, Mapping) or visible(extra)))


def smallest(schema: Raw) -> int:
    """The fewest bytes that a value takes in JSON."""
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        return 1
    if kind == "string":
        return _SHORTEST.get(schema.get("format") or "", 2)
    if kind == "object" and not isinstance(schema.get("additionalProperties"), Mapping):
        members = schema.get("properties") or {}
        needed = (n for n in schema.get("required") or () if visible(members.get(n)) and "default" not in members[n])
        return 2 + sum(len(n) + 4 + smallest(members[n]) for n in needed)
    return _SCALARS.get(kind or "", 2)


def largest(schema: Raw) -> int:
    """How many elements a list or map may have, or bytes a string; 0 for what has no size."""
    kind, items, extra = schema.get("type"), schema.get("items"), schema.get("additionalProperties")
    if schema.get("x-kubernetes-int-or-string"):
        return _text(schema)
    if kind == "array" and isinstance(items, Mapping):
        return max(int(schema.get("maxItems", (REQUEST_BYTES - 2) // (smallest(items) + 1))), 0)
    if kind == "object" and isinstance(extra, Mapping):
        return max(int(schema.get("maxProperties", (REQUEST_BYTES - 2) // (smallest(extra) + 6))), 0)
    return _text(schema) if kind == "string" else 0


def _text(schema: Raw) -> int:
    form, limit = schema.get("format") or "", schema.get("maxLength")
    if form in _LONGEST:
        return _LONGEST[form]
    if limit is not None:
        return max(int(limit), 0) * (1 if form == "byte" else 4)
    if schema.get("enum") and form != "byte":
        return max((len(v.encode()) for v in schema["enum"] if isinstance(v, str)), default=0)
    return REQUEST_BYTES - 2


def at(schema: Raw, path: Sequence[str]) -> int | None:
    """``largest`` of what a path leads to, in which ``@items``, ``@values`` and ``@keys`` stand for all members."""
    for step in path:
        found = _step(schema, step)
        if not visible(found):
            return None
        schema = resource(found) if found.get("x-kubernetes-embedded-resource") else found
    return largest(schema)


def _step(schema: Raw, step: str) -> Any:
    from apimachinery.cel.names import unescape

    items, extra = schema.get("items"), schema.get("additionalProperties")
    match step:
        case "@items" | "@values":
            return extra if schema.get("type") == "object" else items
        case "@keys":
            return _KEY if isinstance(extra, Mapping) else None
    return None if isinstance(extra, Mapping) else (schema.get("properties") or {}).get(unescape(step))
