"""kubectl's JSONPath templates: ``{.items[*].metadata.name}``, ``{range .items[*]}…{end}``, filters, text.

Source: https://kubernetes.io/docs/reference/kubectl/jsonpath/. Regular expressions, ``..`` and slices with a
step are refused by name.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from cli.refusal import Refusal

_TOKEN = re.compile(r"\{((?:\"[^\"]*\"|'[^']*'|[^{}])*)\}|([^{}]+)")
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


class BadTemplate(Refusal, ValueError):
    """The template cannot be read; the message says where."""


def render(template: str, document: Any) -> str:
    """The text that a template makes of a JSON document. Raises BadTemplate."""
    if "{" not in template:
        template = "{" + (template if template.startswith((".", "[", "$")) else f".{template}") + "}"
    tokens = [(m[1], m[2]) for m in _TOKEN.finditer(template)]
    return "".join(_render(iter(tokens), document, document))


def _render(tokens: Iterator[tuple[str | None, str | None]], current: Any, root: Any) -> Iterator[str]:
    for expression, text in tokens:
        if expression is None:
            yield text or ""
        elif (word := expression.strip()) == "end":
            return
        elif word.startswith("range "):
            body = list(_until_end(tokens))
            for item in _evaluate(word[6:].strip(), current, root):
                yield from _render(iter(body), item, root)
        elif word[:1] in "\"'" and word:
            yield word[1:-1].encode().decode("unicode_escape")
        else:
            yield " ".join(_text(v) for v in _evaluate(word, current, root))


def _until_end(tokens: Iterator[tuple[str | None, str | None]]) -> Iterator[tuple[str | None, str | None]]:
    depth = 1
    for token in tokens:
        word = (token[0] or "").strip()
        depth += word.startswith("range ") - (word == "end")
        if depth == 0:
            return
        yield token
    raise BadTemplate("a range without its {end}")


def _evaluate(path: str, current: Any, root: Any) -> list[Any]:
    values = [root] if path.startswith("$") else [current]
    path = path.lstrip("$@")
    if ".." in path:
        raise BadTemplate(f"recursive descent (..) is not supported: {path}")
    if path and path[0] not in ".[":
        path = "." + path
    position = 0
    while position < len(path) and path != ".":
        step = _STEP.match(path, position)
        if not step:
            raise BadTemplate(f"cannot read {path[position:]!r} in {path!r}")
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
        return _member(value, inside[1:-1])
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
        raise BadTemplate(f"not an index: [{inside}]") from error


def _passes(inside: str, value: Any, root: Any) -> bool:
    found = _FILTER.match(inside)
    if not found:
        raise BadTemplate(f"cannot read the filter [{inside}]")
    values = _evaluate(found["path"], value, root)
    if not found["op"]:
        return bool(values)
    literal = found["value"]
    wanted = literal[1:-1] if literal[:1] in "\"'" else json.loads(literal)
    return bool(values) and _COMPARE[found["op"]](values[0], wanted)


def _children(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []


def _member(value: Any, name: str) -> list[Any]:
    return [value[name]] if isinstance(value, dict) and name in value else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
