"""Lists as sets: cel-go's ``sets`` library. What is compared is charged by the lists' sizes multiplied."""

from typing import Any

from ..errors import Budget
from ..overloads import standard
from ..values import equal


def _product(a: list[Any], b: list[Any]) -> int:
    return len(a) * len(b)


def _has(values: list[Any], wanted: Any, budget: Budget) -> bool:
    return any(equal(v, wanted, budget) for v in values)


@standard("sets.contains(list<T>, list<T>) -> bool", cost=_product)
def contains(values: list[Any], part: list[Any]) -> bool:
    budget = Budget()
    return all(_has(values, v, budget) for v in part)


@standard("sets.equivalent(list<T>, list<T>) -> bool", cost=_product)
def equivalent(a: list[Any], b: list[Any]) -> bool:
    return contains(a, b) and contains(b, a)


@standard("sets.intersects(list<T>, list<T>) -> bool", cost=_product)
def intersects(a: list[Any], b: list[Any]) -> bool:
    budget = Budget()
    return any(_has(b, v, budget) for v in a)
