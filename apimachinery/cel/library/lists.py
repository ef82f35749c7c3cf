"""Lists: order, sums and positions."""

from datetime import timedelta
from functools import cmp_to_key
from itertools import pairwise
from typing import Any

from ..errors import Budget, EvaluationError
from ..operators import plus
from ..overloads import declare, implement, implement_all
from ..values import NONE, Optional, compare, equal

ORDERED = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
MOST_IN_RANGE = 1_000_000
SUMMED = ("int", "uint", "double", "duration")


def _less(a: Any, b: Any) -> bool:
    return compare(a, b, "_<_", lambda x, y: bool(x < y))


def _sum(values: list[Any]) -> Any:
    found = values[0] if values else 0
    for value in values[1:]:
        found = plus(found, value)
    if not isinstance(found, (int, float, timedelta)) or isinstance(found, bool):
        raise EvaluationError("no such overload: sum")
    return found


def _extreme(values: list[Any], name: str, largest: bool) -> Any:
    if not values:
        raise EvaluationError(f"{name} called on empty list")
    found = values[0]
    for value in values[1:]:
        if _less(found, value) if largest else _less(value, found):
            found = value
    return found


def _index(budget: Budget, values: list[Any], wanted: Any) -> int:
    return next((i for i, v in enumerate(values) if equal(v, wanted, budget)), -1)


def _last_index(budget: Budget, values: list[Any], wanted: Any) -> int:
    found = _index(budget, values[::-1], wanted)
    return found if found < 0 else len(values) - 1 - found


declare(
    *(f"(list<{t}>).isSorted() -> bool" for t in ORDERED),
    call=lambda values: not any(_less(b, a) for a, b in pairwise(values)),
    work=len,
)
declare(*(f"(list<{t}>).sum() -> {t}" for t in SUMMED), call=_sum, work=len)
declare(*(f"(list<{t}>).min() -> {t}" for t in ORDERED), call=lambda values: _extreme(values, "min", False), work=len)
declare(*(f"(list<{t}>).max() -> {t}" for t in ORDERED), call=lambda values: _extreme(values, "max", True), work=len)
declare("(list<T>).indexOf(T) -> int", call=_index, work=lambda values, wanted: len(values), budgeted=True)
declare("(list<T>).lastIndexOf(T) -> int", call=_last_index, work=lambda values, wanted: len(values), budgeted=True)
implement_all(
    {
        "(list<T>).first() -> optional_type<T>": lambda values: Optional.of(values[0]) if values else NONE,
        "(list<T>).last() -> optional_type<T>": lambda values: Optional.of(values[-1]) if values else NONE,
    },
    work=lambda values: 0,
)


def _slice(values: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise EvaluationError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise EvaluationError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if end > len(values):
        raise EvaluationError(f"cannot slice({start}, {end}), list is length {len(values)}")
    return values[start:end]


def _sort(values: list[Any], keys: list[Any] | None = None) -> list[Any]:
    """By ``keys``, one for each, or by the values themselves."""
    by = values if keys is None else keys

    def order(i: int, j: int) -> int:
        return _less(by[j], by[i]) - _less(by[i], by[j])

    return [values[i] for i in sorted(range(len(values)), key=cmp_to_key(order))]


def _flatten(values: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    flat: list[Any] = []
    for value in values:
        flat += _flatten(value, depth - 1) if isinstance(value, list) and depth else [value]
    return flat


def _range(count: int) -> list[int]:
    if count < 0:
        raise EvaluationError(f"lists.range: size must be non-negative, got {count}")
    if count > MOST_IN_RANGE:
        raise EvaluationError(f"lists.range: size {count} exceeds maximum allowed ({MOST_IN_RANGE})")
    return list(range(count))


def _compared(values: list[Any], keys: list[Any] | None = None) -> int:
    """Every one with every other."""
    by = values if keys is None else keys
    return _made(by) - len(by) + int(len(by) ** 2 * (2.1 if by and isinstance(by[0], (str, bytes)) else 2))


def _made(values: list[Any], *_: Any) -> int:
    """Steps that a call takes which makes a list of so many."""
    return 10 + len(values)


def _distinct(budget: Budget, values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if not any(equal(value, other, budget) for other in found):
            found.append(value)
    return found


# Version 3 of cel-go's own lists, part of the library since v1.34.
implement("(list<T>).slice(int, int) -> list<T>", call=_slice, work=lambda values, start, end: 10 + max(end - start, 0))
implement(*(f"(list<{t}>).sort() -> list<{t}>" for t in ORDERED), call=_sort, work=_compared)
implement("(list<T>).@sortByAssociatedKeys(list<U>) -> list<T>", call=_sort, work=_compared)
implement("(list<T>).distinct() -> list<T>", call=_distinct, work=_compared, budgeted=True)
implement("(list<T>).reverse() -> list<T>", call=lambda values: values[::-1], work=_made)
implement("(list<list<T>>).flatten() -> list<T>", call=_flatten, work=_made)
implement("(list<dyn>).flatten(int) -> list<dyn>", call=_flatten, work=lambda values, depth: 10 + len(values) * depth)
implement("lists.range(int) -> list<int>", call=_range, work=lambda count: 10 + max(count, 0))
