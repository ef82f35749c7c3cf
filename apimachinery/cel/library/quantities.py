"""Quantities: ``quantity('1.5Gi')``."""

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from apimachinery import quantity as quantities

from ..errors import EvaluationError
from ..overloads import declare, declare_all, opaque
from ..values import INT, Opaque

_Q = "kubernetes.Quantity"


@opaque
@dataclass(frozen=True, slots=True)
class Quantity(Opaque):
    amount: Decimal

    cel_type: ClassVar[str] = _Q

    def whole(self) -> int | None:
        """As an int, if it is one that fits 64 bits."""
        value = int(self.amount)
        return value if value == self.amount and value in INT else None


def _parse(text: str) -> Quantity:
    try:
        return Quantity(quantities.parse(text))
    except quantities.QuantityError as error:
        raise EvaluationError(str(error)) from None


def _is_quantity(text: str) -> bool:
    try:
        quantities.parse(text)
    except quantities.QuantityError:
        return False
    return True


def _integer(value: Quantity) -> int:
    whole = value.whole()
    if whole is None:
        raise EvaluationError("cannot convert value to integer")
    return whole


def _compare(a: Quantity, b: Quantity) -> int:
    return (a.amount > b.amount) - (a.amount < b.amount)


declare_all(
    {
        f"quantity(string) -> {_Q}": _parse,
        "isQuantity(string) -> bool": _is_quantity,
        f"({_Q}).isInteger() -> bool": lambda q: q.whole() is not None,
        f"({_Q}).asInteger() -> int": _integer,
        f"({_Q}).asApproximateFloat() -> double": lambda q: float(q.amount),
        f"({_Q}).isGreaterThan({_Q}) -> bool": lambda a, b: a.amount > b.amount,
        f"({_Q}).isLessThan({_Q}) -> bool": lambda a, b: a.amount < b.amount,
        f"({_Q}).compareTo({_Q}) -> int": _compare,
        f"({_Q}).add({_Q}) -> {_Q}": lambda a, b: Quantity(a.amount + b.amount),
        f"({_Q}).add(int) -> {_Q}": lambda a, b: Quantity(a.amount + b),
        f"({_Q}).sub({_Q}) -> {_Q}": lambda a, b: Quantity(a.amount - b.amount),
        f"({_Q}).sub(int) -> {_Q}": lambda a, b: Quantity(a.amount - b),
    }
)
declare(f"sign({_Q}) -> int", call=lambda q: (q.amount > 0) - (q.amount < 0))
