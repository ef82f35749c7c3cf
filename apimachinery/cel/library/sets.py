"""Lists as sets: cel-go's ``sets`` library."""

from typing import Any

from ..errors import Budget
from ..overloads import implement
from ..values import equal


def _has(values: list[Any], wanted: Any, budget: Budget) -> bool:
    return any(equal(v, wanted, budget) for v in values)


def _contains(budget: Budget, values: list[Any], part: list[Any]) -> bool:
    return all(_has(values, v, budget) for v in part)


def _intersects(budget: Budget, a: list[Any], b: list[Any]) -> bool:
    return any(_has(b, v, budget) for v in a)


def _equivalent(budget: Budget, a: list[Any], b: list[Any]) -> bool:
    return _contains(budget, a, b) and _contains(budget, b, a)


for _name, _call in (("contains", _contains), ("equivalent", _equivalent), ("intersects", _intersects)):
    signature = f"sets.{_name}(list<T>, list<T>) -> bool"
    implement(signature, call=_call, work=lambda a, b: len(a) * len(b), budgeted=True)
