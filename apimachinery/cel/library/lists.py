"""Lists: order, sums and positions."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

from ..errors import Budget, EvaluationError
from ..operators import OPERATORS
from ..overloads import declare, implement_all
from ..values import NONE, Optional, compare, equal

ORDERED = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
SUMMED = ("int", "uint", "double", "duration")


def _less(a: Any, b: Any) -> bool:
    return compare(a, b, "_<_", lambda x, y: bool(x < y))


def _sum(budget: Budget, values: list[Any]) -> Any:
    add = OPERATORS["_+_"]
    found = values[0] if values else 0
    for value in values[1:]:
        found = add(budget, found, value)
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
    cost=len,
)
declare(*(f"(list<{t}>).sum() -> {t}" for t in SUMMED), call=_sum, cost=len, budgeted=True)
declare(*(f"(list<{t}>).min() -> {t}" for t in ORDERED), call=lambda values: _extreme(values, "min", False), cost=len)
declare(*(f"(list<{t}>).max() -> {t}" for t in ORDERED), call=lambda values: _extreme(values, "max", True), cost=len)
declare("(list<T>).indexOf(T) -> int", call=_index, cost=lambda values, wanted: len(values), budgeted=True)
declare("(list<T>).lastIndexOf(T) -> int", call=_last_index, cost=lambda values, wanted: len(values), budgeted=True)
implement_all(
    {
        "(list<T>).first() -> optional_type<T>": lambda values: Optional.of(values[0]) if values else NONE,
        "(list<T>).last() -> optional_type<T>": lambda values: Optional.of(values[-1]) if values else NONE,
    },
    cost=lambda values: 0,
)
