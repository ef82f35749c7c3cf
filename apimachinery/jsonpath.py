"""kubectl's JSONPath: ``.items[*].metadata.name``, filters, indices.

Source: https://kubernetes.io/docs/reference/kubectl/jsonpath/. Regular expressions, ``..`` and slices with a
step are refused by name.
"""

import json
import re
from collections.abc import Callable
from typing import Any

_STEP = re.compile(r"\.(?P<field>(?:\\.|[\w\-/$])+|\*)|\[(?P<inside>(?:\"[^\"]*\"|'[^']*'|\([^)]*\)|[^\]])*)\]")
_FILTER = re.compile(r"^\?\(\s*@(?P<path>[^=!<>\s]+)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>.+?)\s*)?\)$")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class BadPath(ValueError):
    """The path cannot be read; the message says where."""


def evaluate(path: str, current: Any, root: Any = None) -> list[Any]:
    """The values that a path finds; what is absent is not found. Raises BadPath."""
    root = current if root is None else root
    values = [root] if path.startswith("$") else [current]
    path = path.lstrip("$@")
    if ".." in path:
        raise BadPath(f"recursive descent (..) is not supported: {path}")
    if path and path[0] not in ".[":
        path = "." + path
    position = 0
    while position < len(path) and path != ".":
        step = _STEP.match(path, position)
        if not step:
            raise BadPath(f"cannot read {path[position:]!r} in {path!r}")
        values = [found for value in values for found in _step(step, value, root)]
        position = step.end()
    return values


def _step(step: re.Match[str], value: Any, root: Any) -> list[Any]:
    if step["field"]:
        return _children(value) if step["field"] == "*" else _member(value, step["field"].replace("\\", ""))
    inside = step["inside"].strip()
    if inside == "*":
        return _children(value)
    if inside[:1] in ("'", '"'):
        return _member(value, inside[1:-1].replace("\\", ""))
    if inside.startswith("?"):
        return [v for v in _children(value) if _passes(inside, v, root)]
    return _indexed(value, inside)


def _indexed(value: Any, inside: str) -> list[Any]:
    if not isinstance(value, list):
        return []
    try:
        if ":" in inside:
            return value[slice(*(int(p) if p else None for p in inside.split(":")))]
        return [value[i] for i in map(int, inside.split(",")) if -len(value) <= i < len(value)]
    except ValueError as error:
        raise BadPath(f"not an index: [{inside}]") from error


def _passes(inside: str, value: Any, root: Any) -> bool:
    found = _FILTER.match(inside)
    if not found:
        raise BadPath(f"cannot read the filter [{inside}]")
    values = evaluate(found["path"], value, root)
    if not found["op"]:
        return bool(values)
    literal = found["value"]
    wanted = literal[1:-1] if literal[:1] in "\"'" else json.loads(literal)
    try:
        return bool(values) and _COMPARE[found["op"]](values[0], wanted)
    except TypeError:  # values of two types are in no order
        return False


def _children(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []


def _member(value: Any, name: str) -> list[Any]:
    return [value[name]] if isinstance(value, dict) and name in value else []
