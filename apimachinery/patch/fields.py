"""Sets of fields, kept in the form in which they are stored: FieldsV1.

A set is a tree of dicts. ``f:name`` leads to a field, ``k:{...}`` to the list element with these keys, ``v:value`` to
the element of a set. A node belongs to the set if it is empty or holds ``.``; the root stands for the whole object and
never does, so ``{}`` is the empty set. Sets are values: nothing changes one once it is made, so objects share them.

Source: ``sigs.k8s.io/structured-merge-diff/v6/fieldpath``.
"""

from collections.abc import Iterator
from typing import Any

import orjson

Fields = dict[str, Any]

ITSELF = "."
LEAF: Fields = {}
NONE: Fields = {}


def key(keys: dict[str, Any]) -> str:
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


def value(item: Any) -> str:
    return "v:" + orjson.dumps(item).decode()


def ordered(node: Fields) -> Fields:
    """The set with every level sorted, as Go would encode it again: clients compare FieldsV1 byte by byte."""
    return {e: ordered(node[e]) if node[e] else LEAF for e in sorted(node)}


def belongs(node: Fields) -> bool:
    """Whether what a node stands for is in the set, not only something below it."""
    return not node or ITSELF in node


def union(a: Fields, b: Fields) -> Fields:
    """What is in either set."""
    if not a or not b:
        return a or b
    out = {**a, **b}
    for element in a.keys() & b.keys():
        if element != ITSELF:
            out[element] = _united(a[element], b[element])
    return out


def _united(a: Fields, b: Fields) -> Fields:
    if a and b:
        return union(a, b)
    below = a or b
    return {ITSELF: LEAF, **below} if below else LEAF


def minus(a: Fields, b: Fields) -> Fields:
    """What is in ``a`` and not in ``b``; ``a`` itself if that is all of it."""
    shared = [e for e in b if e in a and e != ITSELF]
    out = a
    for element in shared:
        left = _without(a[element], b[element])
        if left is not a[element]:
            if out is a:
                out = dict(a)
            if left is None:
                del out[element]
            else:
                out[element] = left
    return out


def _without(a: Fields, b: Fields) -> Fields | None:
    """A node that is left of ``a``; None if nothing is."""
    if not belongs(b):
        return _leaf(minus(a, b)) if a else a
    if not a:
        return None
    left = minus(a, b)
    if ITSELF in left:
        left = {e: below for e, below in left.items() if e != ITSELF}
    elif left == {}:
        return None
    return left or None


def _leaf(node: Fields) -> Fields | None:
    """A node that had something below it; None if nothing is left."""
    return LEAF if node.keys() == {ITSELF} else node or None


def both(a: Fields, b: Fields) -> Fields:
    """What is in both sets."""
    out: Fields = {}
    for element in a.keys() & b.keys():
        if element != ITSELF:
            left, right = a[element], b[element]
            below = both(left, right)
            if belongs(left) and belongs(right):
                below = {ITSELF: LEAF, **below} if below else LEAF
            elif not below:
                continue
            out[element] = below
    return out


def paths(node: Fields, above: str = "") -> Iterator[str]:
    """Everything in a set as conflicts name it: ``.spec.containers[name="c"].image``. Of each level first what belongs
    to the set, then what is below; each sorted."""
    elements = sorted(e for e in node if e != ITSELF)
    yield from (above + show(e) for e in elements if belongs(node[e]))
    for element in elements:
        yield from paths(node[element], above + show(element))


def show(element: str) -> str:
    """One step of a path, as conflicts name it."""
    form, _, rest = element.partition(":")
    if form == "f":
        return f".{rest}"
    if form == "k":
        keys = orjson.loads(rest)
        return "[" + ",".join(f"{k}={orjson.dumps(v).decode()}" for k, v in sorted(keys.items())) + "]"
    return f"[={rest}]" if form == "v" else f"[{rest}]"
