"""Whether a value can be applied: apply needs the type of every field and the name of every list element.

Source: ``sigs.k8s.io/structured-merge-diff/v6/typed/validate.go``; the words are its own.
"""

from typing import Any

from apimachinery.patch import fields
from apimachinery.patch.structured import Schema, TypeSchema, element_of, key_default, kind_of

_NUMBERS = ("int32", "int64", "double")
_STRINGS = ("string", "bytes", "time", "microtime")
_GO_TYPES = {dict: "map[string]interface {}", list: "[]interface {}", str: "string", bool: "bool"}


def problems(value: Any, schema: Schema, path: str = "") -> list[str]:
    """Everything about the value that its schema does not allow: ``.spec.foo: field not declared in schema``."""
    if value is None or schema is None or schema.form == "any":
        return []
    if schema.form in ("object", "map"):
        return _map(value, schema, path)
    if schema.form == "list":
        return _list(value, schema, path)
    wrong = _scalar(value, schema.form)
    return [f"{path}: {wrong}"] if wrong else []


def _map(value: Any, schema: TypeSchema, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: expected map, got &{{{_go(value)}}}"]
    found = []
    for name, member in value.items():
        below = schema.field(name)
        if below is None and schema.form == "object" and not getattr(schema, "open", False):
            found.append(f"{path}.{name}: field not declared in schema")
        else:
            found += problems(member, below, f"{path}.{name}")
    return found


def _list(value: Any, schema: TypeSchema, path: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{path}: expected list, got &{{{_go(value)}}}"]
    kind = kind_of(value, schema)
    found: list[str] = []
    seen: set[str] = set()
    for index, item in enumerate(value):
        place = f"[{index}]"
        if kind != "atomic":
            wrong = _nameless(item, kind, schema)
            if wrong:
                found.append(f"{path}: element {index}: {wrong}")
                continue
            element = element_of(item, kind, schema)
            place = fields.show(element)
            if element in seen:
                found.append(f"{path}: duplicate entries for key {place}")
            seen.add(element)
        found += problems(item, schema.item, path + place)
    return found


def _nameless(item: Any, kind: str, schema: TypeSchema) -> str:
    """Why a list element has no name, or nothing."""
    if kind == "set":
        if item is None:
            return "associative list without keys has an element that's an explicit null"
        if isinstance(item, dict):
            return "associative list without keys has an element that's a map type"
        return "not supported: associative list with lists as elements" if isinstance(item, list) else ""
    if item is None:
        return "associative list with keys may not have a null element"
    if not isinstance(item, dict):
        return "associative list with keys may not have non-map elements"
    for name in schema.list_keys:
        if item.get(name) is None and key_default(schema, name) is None:
            return f'associative list with keys has an element that omits key field "{name}" ' + _NO_DEFAULT
    return ""


_NO_DEFAULT = "(and doesn't have default value)"


def _scalar(value: Any, form: str) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if form in _NUMBERS and not number:
        return f"expected numeric (int or float), got {_GO_TYPES.get(type(value), 'string')}"
    if form in _STRINGS and not isinstance(value, str):
        return f"expected string, got &value.valueUnstructured{{Value:{_go(value)}}}"
    if form == "bool" and not isinstance(value, bool):
        return f"expected boolean, got &{{{_go(value)}}}"
    if form in ("quantity", "intorstring") and not (number or isinstance(value, str)):
        return f"expected any scalar, got &{{{_go(value)}}}"
    return ""


def _go(value: Any) -> str:
    """A value as Go's ``%v`` prints it."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{_go(value[k])}" for k in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(_go, value)) + "]"
    return (
        {True: "true", False: "false", None: "<nil>"}[value] if value is None or isinstance(value, bool) else str(value)
    )
