"""Kubernetes quantities, exactly: ``500m``, ``1Gi``, ``2e3``.

Amounts are ``Decimal`` and never rounded by arithmetic here; parsing rounds only what upstream rounds (below one
nano, away from zero) and caps what upstream caps (2^63-1).

Source: ``k8s.io/apimachinery/pkg/api/resource/quantity.go``.
"""

import re
from decimal import ROUND_CEILING, ROUND_UP, Context, Decimal, Inexact, InvalidOperation
from typing import Literal

from .memo import memo

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_SUFFIX = {power: suffix for suffix, power in _BINARY.items()} | {0: ""}
_DECIMAL_SUFFIX = {power: suffix for suffix, power in _DECIMAL.items()}
_SHAPE = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(.*)", re.DOTALL)
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]{1,9})")
_LARGEST = Decimal(2**63 - 1)
_NANO = Decimal("1e-9")
_EXACT = Context(prec=1000, Emax=10**10, Emin=-(10**10), traps=[InvalidOperation])
_FORMAT_ERROR = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_SUFFIX_ERROR = "unable to parse quantity's suffix"


class QuantityError(ValueError):
    """The text is not a quantity. The message is upstream's."""


def parse(text: str | int | float) -> Decimal:
    """The exact amount of a quantity (a JSON number counts as its text). Raises QuantityError."""
    return _parse(str(text))[0]


def canonical(text: str | int | float) -> str:
    """The one way upstream writes this amount in this notation: ``0.1`` becomes ``100m``. Raises QuantityError."""
    return _canonical(str(text))


def format(amount: Decimal | int, notation: Format = "DecimalSI") -> str:
    """Write an amount canonically: the largest suffix that leaves a whole number."""
    value = Decimal(amount)
    if value == 0:
        return "0"
    if notation == "BinarySI" and abs(value) >= 1024 and value == value.to_integral_value():
        return _format_binary(int(value))
    digits, exponent = _whole(value)
    if notation == "DecimalExponent":
        return f"{digits}e{exponent}" if exponent else str(digits)
    return f"{digits}{_DECIMAL_SUFFIX[exponent]}"


def compare(left: str, right: str) -> int:
    """-1, 0 or 1 as ``left`` is less than, equal to or more than ``right``."""
    a, b = parse(left), parse(right)
    return (a > b) - (a < b)


@memo(4096)
def value(text: str | int | float) -> int:
    """The amount in whole units, rounded up: bytes of memory, number of pods."""
    return int(parse(text).to_integral_value(ROUND_CEILING))


@memo(4096)
def milli_value(text: str | int | float) -> int:
    """The amount in thousandths, rounded up: millicores of ``cpu``."""
    return int(parse(text).scaleb(3, _EXACT).to_integral_value(ROUND_CEILING))


@memo(4096)
def _parse(text: str) -> tuple[Decimal, Format]:
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise QuantityError(_FORMAT_ERROR)
    number, suffix = match.groups()
    factor, notation = _factor(suffix)
    amount = _EXACT.multiply(Decimal(number), factor)
    if notation == "BinarySI" and -1 < amount < 1:
        notation = "DecimalSI"
    return _bounded(amount), notation


def _factor(suffix: str) -> tuple[Decimal, Format]:
    if suffix in _DECIMAL:
        return Decimal(1).scaleb(_DECIMAL[suffix]), "DecimalSI"
    if suffix in _BINARY:
        return Decimal(1024 ** _BINARY[suffix]), "BinarySI"
    exponent = _EXPONENT.fullmatch(suffix)
    if exponent is None:
        raise QuantityError(_SUFFIX_ERROR)
    # Amounts beyond what is capped or rounded below need no larger exponents than these.
    return Decimal(1).scaleb(max(-900, min(900, int(exponent[1])))), "DecimalExponent"


def _bounded(amount: Decimal) -> Decimal:
    if amount == 0:
        return Decimal(0)
    if abs(amount) > _LARGEST:
        return _LARGEST if amount > 0 else -_LARGEST
    nanos = Context(prec=1000, rounding=ROUND_UP, traps=[]).quantize(amount, _NANO)
    return amount if nanos == amount else nanos


@memo(4096)
def _canonical(text: str) -> str:
    amount, notation = _parse(text)
    return format(amount, notation)


def _format_binary(amount: int) -> str:
    power = 0
    while amount % 1024 == 0 and power < 6:
        amount //= 1024
        power += 1
    return f"{amount}{_BINARY_SUFFIX[power]}"


def _whole(amount: Decimal) -> tuple[int, int]:
    """Digits and an exponent that is a multiple of three, as large as leaves the digits whole."""
    sign, numerals, power = Context(prec=1000, traps=[Inexact]).normalize(amount).as_tuple()
    digits = int("".join(map(str, numerals)))
    exponent = min(18, int(power) // 3 * 3)
    digits *= 10 ** (int(power) - exponent)
    return (-digits if sign else digits), exponent
