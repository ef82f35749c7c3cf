"""The operators: functions of a budget and one or two values."""

import math
import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from . import costs, members
from .errors import Budget, EvaluationError
from .values import NUMBERS, Unordered, compare, equal, no_such_overload, number


def _add(budget: Budget, a: Any, b: Any) -> Any:
    kind = type(a)
    if isinstance(a, Unordered) and isinstance(b, list):
        budget.charge(1)
        return a.merged(b, budget)
    if (kind in (str, bytes) and type(b) is kind) or (kind is list and isinstance(b, list)):
        budget.charge(1 if kind is list else costs.traversal(len(a) + len(b)))
        budget.work((len(a) + len(b)) // 10)
        return a + b
    budget.charge(1)
    return plus(a, b)


def plus(a: Any, b: Any) -> Any:
    """Of numbers and times."""
    if isinstance(a, (datetime, timedelta)) and isinstance(b, (datetime, timedelta)):
        return _moved(a, b, operator.add)
    return _arithmetic("_+_", operator.add, a, b)


def _subtract(budget: Budget, a: Any, b: Any) -> Any:
    if isinstance(a, (datetime, timedelta)) and isinstance(b, (datetime, timedelta)):
        return _moved(a, b, operator.sub)
    return _arithmetic("_-_", operator.sub, a, b)


def _moved(a: Any, b: Any, step: Callable[[Any, Any], Any]) -> Any:
    try:
        return step(a, b)
    except (OverflowError, TypeError):
        raise EvaluationError("timestamp or duration overflow") from None


def _arithmetic(name: str, step: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    kind = type(a)
    if kind not in NUMBERS or type(b) is not kind:
        raise no_such_overload(name, a, b)
    return step(a, b) if kind is float else number(step(int(a), int(b)), kind)


def _multiply(budget: Budget, a: Any, b: Any) -> Any:
    return _arithmetic("_*_", operator.mul, a, b)


def _divide(budget: Budget, a: Any, b: Any) -> Any:
    if type(a) is float and type(b) is float:
        if b:
            return a / b
        return float("nan") if not a or math.isnan(a) else float("inf") * a
    return _arithmetic("_/_", _truncated, a, b)


def _truncated(a: int, b: int) -> int:
    if not b:
        raise EvaluationError("division by zero")
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _modulo(budget: Budget, a: Any, b: Any) -> Any:
    if type(a) is float:
        raise no_such_overload("_%_", a, b)
    return _arithmetic("_%_", _remainder, a, b)


def _remainder(a: int, b: int) -> int:
    if not b:
        raise EvaluationError("modulus by zero")
    return a - b * _truncated(a, b)


def _negate(budget: Budget, a: Any) -> Any:
    if type(a) is float:
        return -a
    if type(a) is not int:
        raise no_such_overload("-_", a)
    return number(-a)


def _not(budget: Budget, a: Any) -> bool:
    if type(a) is not bool:
        raise no_such_overload("!_", a)
    return not a


def _in(budget: Budget, a: Any, b: Any) -> bool:
    if isinstance(b, dict):
        budget.charge(1)
        return members.key(a) in b
    if not isinstance(b, list):
        raise no_such_overload("@in", a, b)
    budget.charge(len(b))
    return among(budget, a, b)


def among(budget: Budget, a: Any, b: list[Any]) -> bool:
    """``in`` for a list of constants, which costs nothing upstream."""
    budget.work(len(b))
    return any(equal(a, x, budget) for x in b)


def _equal(budget: Budget, a: Any, b: Any) -> bool:
    budget.charge(costs.compared(a, b))
    return equal(a, b, budget)


def _ordering(name: str, test: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def run(budget: Budget, a: Any, b: Any) -> bool:
        budget.charge(costs.compared(a, b))
        return compare(a, b, name, test)

    return run


def _insert(budget: Budget, made: Any, *entry: Any) -> Any:
    """A map that a comprehension is making grows in place. Raises EvaluationError for a key that is there."""
    for key, value in (entry,) if len(entry) == 2 else entry[0].items():
        if members.key(key) in made:
            raise EvaluationError(f"insert failed: key {key} already exists")
        made[key] = value
    return made


OPERATORS: dict[str, Callable[..., Any]] = {
    "_+_": _add,
    "_-_": _subtract,
    "_*_": _multiply,
    "_/_": _divide,
    "_%_": _modulo,
    "-_": _negate,
    "!_": _not,
    "@in": _in,
    "_==_": _equal,
    "_!=_": lambda budget, a, b: not _equal(budget, a, b),
    "_[_]": lambda budget, a, b: members.index(a, b),
    "cel.@mapInsert": _insert,
    "_<_": _ordering("_<_", operator.lt),
    "_<=_": _ordering("_<=_", operator.le),
    "_>_": _ordering("_>_", operator.gt),
    "_>=_": _ordering("_>=_", operator.ge),
}
