"""Sets of fields: as paths to compute with, as FieldsV1 to store, as text to show.

A path is a tuple of elements: ``f:name`` a field, ``k:{...}`` the list element with these keys, ``v:value`` the
element of a set.

Source: ``sigs.k8s.io/structured-merge-diff/v6/fieldpath``.
"""

from collections.abc import Iterable
from typing import Any

import orjson

Path = tuple[str, ...]
Paths = frozenset[Path]
FieldsV1 = dict[str, Any]

NONE: Paths = frozenset()


def field(name: str) -> str:
    return f"f:{name}"


def key(keys: dict[str, Any]) -> str:
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


def value(item: Any) -> str:
    return "v:" + orjson.dumps(item).decode()


def to_fields(paths: Iterable[Path]) -> FieldsV1:
    """The stored form: nested, ``.`` where an element with members belongs to the set itself."""
    root: FieldsV1 = {}
    for path in paths:
        node = root
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    return _without_lone_dots(root)


def _without_lone_dots(node: FieldsV1) -> FieldsV1:
    if set(node) == {"."}:
        return {}
    return {k: _without_lone_dots(node[k]) if k != "." else {} for k in sorted(node)}


def from_fields(fields: FieldsV1 | None) -> Paths:
    """The paths of a stored set."""
    return frozenset(_paths(fields or {}, ())) - {()}


def _paths(node: FieldsV1, path: Path) -> Iterable[Path]:
    if not node:
        yield path
    for element, below in node.items():
        if element == ".":
            yield path
        else:
            yield from _paths(below, (*path, element))


def show(path: Path) -> str:
    """``.spec.containers[name="c"].image``: as conflicts name fields."""
    return "".join(map(_show, path))


def _show(element: str) -> str:
    form, _, rest = element.partition(":")
    if form == "f":
        return f".{rest}"
    if form == "k":
        keys = orjson.loads(rest)
        return "[" + ",".join(f"{k}={orjson.dumps(v).decode()}" for k, v in sorted(keys.items())) + "]"
    return f"[={rest}]" if form == "v" else f"[{rest}]"
