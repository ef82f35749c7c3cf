"""Lists: order, sums and positions."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

from ..errors import Budget, EvaluationError
from ..overloads import function, standard
from ..values import Optional, compare, equal

ORDERED = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
SUMMED = ("int", "uint", "double", "duration")


def _less(a: Any, b: Any) -> bool:
    return compare(a, b, "_<_", lambda x, y: bool(x < y))


@function(*(f"(list<{t}>).isSorted() -> bool" for t in ORDERED))
def is_sorted(values: list[Any]) -> bool:
    return not any(_less(b, a) for a, b in pairwise(values))


@function(*(f"(list<{t}>).sum() -> {t}" for t in SUMMED))
def total(values: list[Any]) -> Any:
    from ..operators import OPERATORS

    budget, add = Budget(), OPERATORS["_+_"]
    found = values[0] if values else 0
    for value in values[1:]:
        found = add(budget, found, value)
    if not isinstance(found, (int, float, timedelta)) or isinstance(found, bool):
        raise EvaluationError("no such overload: sum")
    return found


@function(*(f"(list<{t}>).min() -> {t}" for t in ORDERED))
def minimum(values: list[Any]) -> Any:
    return _extreme(values, "min", False)


@function(*(f"(list<{t}>).max() -> {t}" for t in ORDERED))
def maximum(values: list[Any]) -> Any:
    return _extreme(values, "max", True)


def _extreme(values: list[Any], name: str, largest: bool) -> Any:
    if not values:
        raise EvaluationError(f"{name} called on empty list")
    found = values[0]
    for value in values[1:]:
        if _less(found, value) is largest and not equal(found, value, Budget()):
            found = value
    return found


@function("(list<T>).indexOf(T) -> int")
def index_of(values: list[Any], wanted: Any) -> int:
    budget = Budget()
    return next((i for i, v in enumerate(values) if equal(v, wanted, budget)), -1)


@function("(list<T>).lastIndexOf(T) -> int")
def last_index_of(values: list[Any], wanted: Any) -> int:
    found = index_of(values[::-1], wanted)
    return found if found < 0 else len(values) - 1 - found


@standard("(list<T>).first() -> optional_type<T>")
def first(values: list[Any]) -> Optional:
    return Optional.of(values[0]) if values else Optional()


@standard("(list<T>).last() -> optional_type<T>")
def last(values: list[Any]) -> Optional:
    return Optional.of(values[-1]) if values else Optional()
