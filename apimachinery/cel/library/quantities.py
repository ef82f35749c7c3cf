"""Quantities: ``quantity('1.5Gi')``."""

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import ClassVar

from apimachinery import quantity as quantities

from ..errors import EvaluationError
from ..overloads import function, opaque
from ..values import INT, Opaque

MAX_DIGITS = 10
DEFAULT_DIGITS = 4


@opaque
@dataclass(frozen=True, slots=True)
class Quantity(Opaque):
    amount: Decimal

    cel_type: ClassVar[str] = "kubernetes.Quantity"

    def whole(self) -> int | None:
        """As an int, if it is one that fits 64 bits."""
        value = int(self.amount)
        return value if value == self.amount and value in INT else None


@function("quantity(string) -> kubernetes.Quantity")
def quantity(text: str) -> Quantity:
    try:
        return Quantity(quantities.parse(text))
    except quantities.QuantityError as error:
        raise EvaluationError(str(error)) from None


@function("isQuantity(string) -> bool")
def is_quantity(text: str) -> bool:
    try:
        quantities.parse(text)
    except quantities.QuantityError:
        return False
    return True


@function("(kubernetes.Quantity).isInteger() -> bool")
def is_integer(value: Quantity) -> bool:
    return value.whole() is not None


@function("(kubernetes.Quantity).asInteger() -> int")
def as_integer(value: Quantity) -> int:
    whole = value.whole()
    if whole is None:
        raise EvaluationError("cannot convert value to integer")
    return whole


@function("(kubernetes.Quantity).asApproximateFloat() -> double")
def as_float(value: Quantity) -> float:
    return float(value.amount)


@function("sign(kubernetes.Quantity) -> int", "(kubernetes.Quantity).sign() -> int")
def sign(value: Quantity) -> int:
    return (value.amount > 0) - (value.amount < 0)


@function("(kubernetes.Quantity).isGreaterThan(kubernetes.Quantity) -> bool")
def is_greater(a: Quantity, b: Quantity) -> bool:
    return a.amount > b.amount


@function("(kubernetes.Quantity).isLessThan(kubernetes.Quantity) -> bool")
def is_less(a: Quantity, b: Quantity) -> bool:
    return a.amount < b.amount


@function("(kubernetes.Quantity).compareTo(kubernetes.Quantity) -> int")
def compare_to(a: Quantity, b: Quantity) -> int:
    return (a.amount > b.amount) - (a.amount < b.amount)


def _amount(value: Quantity | int) -> Decimal:
    return value.amount if isinstance(value, Quantity) else Decimal(value)


@function(
    "(kubernetes.Quantity).add(kubernetes.Quantity) -> kubernetes.Quantity",
    "(kubernetes.Quantity).add(int) -> kubernetes.Quantity",
)
def add(a: Quantity, b: Quantity | int) -> Quantity:
    return Quantity(a.amount + _amount(b))


@function(
    "(kubernetes.Quantity).sub(kubernetes.Quantity) -> kubernetes.Quantity",
    "(kubernetes.Quantity).sub(int) -> kubernetes.Quantity",
)
def subtract(a: Quantity, b: Quantity | int) -> Quantity:
    return Quantity(a.amount - _amount(b))


@function("(kubernetes.Quantity).mul(int) -> kubernetes.Quantity")
def multiply(a: Quantity, b: int) -> Quantity:
    return Quantity(a.amount * b)


@function("(kubernetes.Quantity).div(int) -> kubernetes.Quantity")
def divide(a: Quantity, b: int) -> Quantity:
    return divide_rounded(a, b, DEFAULT_DIGITS)


@function("(kubernetes.Quantity).div(int, int) -> kubernetes.Quantity")
def divide_rounded(a: Quantity, b: int, digits: int) -> Quantity:
    if not 0 <= digits <= MAX_DIGITS:
        raise EvaluationError(f"the valid range for roundVal is 0 to {MAX_DIGITS} but {digits} was passed")
    return Quantity(_quotient(a, b).quantize(Decimal(1).scaleb(-digits), ROUND_UP))


@function("(kubernetes.Quantity).divInt(int) -> kubernetes.Quantity")
def divide_whole(a: Quantity, b: int) -> Quantity:
    return Quantity(_quotient(a, b).to_integral_value(ROUND_DOWN))


def _quotient(a: Quantity, b: int) -> Decimal:
    if not b:
        raise EvaluationError("division by zero error")
    return a.amount / b
