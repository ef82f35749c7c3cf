"""Quantities: ``quantity('1.5Gi')``.

Upstream keeps some as a 64 bit integer with a decimal exponent, others as a big decimal, and takes only the first for
integers: 1.5Gi is none to it. That shows in ``isInteger`` and ``asInteger``, so it is followed here (``Parts``).
Source: ``k8s.io/apimachinery/pkg/api/resource``: ``ParseQuantity``, ``int64Amount``.
"""

import re
from dataclasses import dataclass, field
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
    parts: "Parts | None" = field(default=None, compare=False)

    cel_type: ClassVar[str] = _Q

    def whole(self) -> int | None:
        """As an int, if upstream has it as one that fits 64 bits."""
        if self.parts is None or self.parts[1] < 0:
            return None
        value = self.parts[0] * 10 ** self.parts[1]
        return value if value in INT else None

    def plus(self, other: "Quantity") -> "Quantity":
        return Quantity(self.amount + other.amount, _sum(self.parts, other.parts))

    def minus(self, other: "Quantity") -> "Quantity":
        negative = other.parts and (-other.parts[0], other.parts[1])
        return Quantity(self.amount - other.amount, _sum(self.parts, negative))


Parts = tuple[int, int]
"""A value and the power of ten that it is multiplied by."""
_FAST_DIGITS, _FAST_BINARY_DIGITS, _SMALLEST_SCALE = 18, 14, -9
_TEXT = re.compile(r"(-?)\+?0*([0-9]*)(?:\.([0-9]*))?(?:([KMGTPE])i|([numkMGTPE]?)|[eE]([+-]?[0-9]+))")


def _parts(text: str) -> Parts | None:
    found = _TEXT.fullmatch(text)
    if found is None:
        return None
    sign, whole, part, binary, decimal, exponent = found.groups(default="")
    digits, bits = len(whole or "0"), 0
    if binary:
        bits = 10 * (1 + "KMGTPE".index(binary))
        fast, scale = not part and digits + bits * 3 // 10 <= _FAST_BINARY_DIGITS, 0
    else:
        power = int(exponent) if exponent else 3 * ("num kMGTPE".index(decimal or " ") - 3)
        fast, scale = digits + len(part) <= _FAST_DIGITS, power - len(part)
    if not fast or scale < _SMALLEST_SCALE:
        return None
    return int(f"{sign}{whole}{part}" if whole or part else "0") << bits, scale


def _sum(a: Parts | None, b: Parts | None) -> Parts | None:
    if a is None or b is None or not a[0] or not b[0]:
        return a and b and (a if a[0] else b)
    scale = min(a[1], b[1])
    value = sum(p[0] * 10 ** (p[1] - scale) for p in (a, b))
    return (value, scale) if value in INT else None


def _of(value: int) -> Quantity:
    return Quantity(Decimal(value), (value, 0))


def _parse(text: str) -> Quantity:
    try:
        amount = quantities.parse(text)
    except quantities.QuantityError as error:
        raise EvaluationError(str(error)) from None
    return Quantity(amount, _parts(text))


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
        f"({_Q}).add({_Q}) -> {_Q}": Quantity.plus,
        f"({_Q}).add(int) -> {_Q}": lambda a, b: a.plus(_of(b)),
        f"({_Q}).sub({_Q}) -> {_Q}": Quantity.minus,
        f"({_Q}).sub(int) -> {_Q}": lambda a, b: a.minus(_of(b)),
    }
)
declare(f"sign({_Q}) -> int", call=lambda q: (q.amount > 0) - (q.amount < 0))
