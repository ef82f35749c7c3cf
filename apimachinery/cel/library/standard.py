"""CEL's standard functions: sizes, conversions, text search, and the parts of a time."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import re2

from ..coercions import duration, timestamp
from ..errors import EvaluationError
from ..overloads import declare, declare_all, implement, implement_all
from ..values import Type, UInt, number, type_name

ORDERED = ("int", "uint", "double", "string", "bytes", "bool", "timestamp", "duration")
NUMBERS = ("int", "uint", "double")
_EXPONENTS_FROM = 6


def _unreachable(*arguments: object) -> Any:
    raise AssertionError("an operator is evaluated by the table of operators")


for _name in ("_<_", "_<=_", "_>_", "_>=_"):
    _pairs = [(a, a) for a in ORDERED] + [(a, b) for a in NUMBERS for b in NUMBERS if a != b]
    declare(*(f"{_name}({a}, {b}) -> bool" for a, b in _pairs), call=_unreachable)


def pattern(text: str) -> Any:
    """A compiled regular expression of RE2: it never backtracks. Raises EvaluationError."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        raise EvaluationError(f"error parsing regexp: {error.args[0].decode(errors='replace')}") from None


def _matches(text: str, expression: str) -> bool:
    return pattern(expression).search(text) is not None


def string_double(value: float) -> str:
    """As Go's ``%g`` writes it: the fewest digits, and an exponent from a million on."""
    if not math.isfinite(value):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    exact = Decimal(repr(value))
    exponent = exact.adjusted()
    if not value or -4 <= exponent < _EXPONENTS_FROM:
        return str(int(value)) if value.is_integer() else repr(value)
    digits = "".join(map(str, exact.as_tuple().digits)).rstrip("0")
    point = "." if digits[1:] else ""
    return f"{'-' if value < 0 else ''}{digits[0]}{point}{digits[1:]}e{exponent:+03d}"


def string_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None


def string_timestamp(value: datetime) -> str:
    text = value.astimezone(UTC).isoformat().replace("+00:00", "")
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "Z"


def string_duration(value: timedelta) -> str:
    micros = value // timedelta(microseconds=1)
    whole, part = divmod(abs(micros), 1_000_000)
    fraction = f".{part:06}".rstrip("0") if part else ""
    return f"{'-' if micros < 0 else ''}{whole}{fraction}s"


def _int(value: Any) -> int:
    if isinstance(value, float) and not -(2.0**63) < value < 2.0**63:
        raise EvaluationError("integer overflow")
    return number(int(value))


def _int_text(value: str) -> int:
    try:
        return number(int(value)) if value.strip() == value and "_" not in value else int("")
    except ValueError:
        raise EvaluationError("type conversion error from 'string' to 'int'") from None


def _double(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise EvaluationError("type conversion error from 'string' to 'double'") from None


def _bool_text(value: str) -> bool:
    if value in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if value in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise EvaluationError(f"type conversion error from 'string' to 'bool': {value!r}")


def _timestamp_seconds(value: int) -> datetime:
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError):
        raise EvaluationError("timestamp overflow") from None


implement(
    *("size(string) -> int", "size(bytes) -> int", "size(list<A>) -> int", "size(map<A, B>) -> int"),
    *("(string).size() -> int", "(bytes).size() -> int", "(list<A>).size() -> int", "(map<A, B>).size() -> int"),
    call=len,
    work=lambda value: 0,
)
implement("(string).matches(string) -> bool", "matches(string, string) -> bool", call=_matches)
declare("string(int) -> string", "string(uint) -> string", "string(string) -> string", call=str)
implement("int(int) -> int", "int(uint) -> int", "int(double) -> int", call=_int)
implement("uint(int) -> uint", "uint(uint) -> uint", call=lambda value: number(int(value), UInt))
implement(*(f"double({t}) -> double" for t in (*NUMBERS, "string")), call=_double)
implement("timestamp(string) -> timestamp", "timestamp(timestamp) -> timestamp", call=timestamp)
implement("duration(string) -> duration", "duration(duration) -> duration", call=duration)
implement("type(A) -> type", call=lambda value: Type(type_name(value)), work=lambda value: 0)
implement("dyn(A) -> dyn", call=lambda value: value, work=lambda value: 0)
implement_all(
    {
        "(string).contains(string) -> bool": lambda text, part: part in text,
        "(string).startsWith(string) -> bool": str.startswith,
        "(string).endsWith(string) -> bool": str.endswith,
        "int(string) -> int": _int_text,
        "int(timestamp) -> int": lambda value: int(value.timestamp() // 1),
        "uint(double) -> uint": lambda value: number(_int(value), UInt),
        "uint(string) -> uint": lambda value: number(_int_text(value), UInt),
        "bool(bool) -> bool": bool,
        "bool(string) -> bool": _bool_text,
        "bytes(bytes) -> bytes": bytes,
        "bytes(string) -> bytes": str.encode,
        "timestamp(int) -> timestamp": _timestamp_seconds,
    }
)
declare_all(
    {
        "string(bool) -> string": lambda value: "true" if value else "false",
        "string(double) -> string": string_double,
        "string(bytes) -> string": string_bytes,
        "string(timestamp) -> string": string_timestamp,
        "string(duration) -> string": string_duration,
    }
)


def _zone(name: str) -> tzinfo:
    try:
        if name[:1] in "+-" or name[:1].isdigit():
            hours, minutes = (int(p) for p in name.lstrip("+-").split(":"))
            offset = timedelta(hours=hours, minutes=minutes)
            return timezone(-offset if name.startswith("-") else offset)
        return ZoneInfo(name)
    except (ValueError, ZoneInfoNotFoundError, OSError):
        raise EvaluationError(f"unknown time zone {name}") from None


_PARTS: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda t: t.year,
    "getMonth": lambda t: t.month - 1,
    "getDate": lambda t: t.day,
    "getDayOfMonth": lambda t: t.day - 1,
    "getDayOfWeek": lambda t: t.isoweekday() % 7,
    "getDayOfYear": lambda t: t.timetuple().tm_yday - 1,
    "getHours": lambda t: t.hour,
    "getMinutes": lambda t: t.minute,
    "getSeconds": lambda t: t.second,
    "getMilliseconds": lambda t: t.microsecond // 1000,
}
_LENGTHS = {"getHours": timedelta(hours=1), "getMinutes": timedelta(minutes=1), "getSeconds": timedelta(seconds=1)}


def _register_part(name: str, part: Callable[[datetime], int]) -> None:
    implement(f"(timestamp).{name}() -> int", call=lambda t: part(t.astimezone(UTC)))
    implement(f"(timestamp).{name}(string) -> int", call=lambda t, zone: part(t.astimezone(_zone(zone))))


def _register_length(name: str, unit: timedelta) -> None:
    implement(f"(duration).{name}() -> int", call=lambda d: int(d / unit))


for _name, _part in _PARTS.items():
    _register_part(_name, _part)
for _name, _unit in _LENGTHS.items():
    _register_length(_name, _unit)
implement("(duration).getMilliseconds() -> int", call=lambda d: int(d / timedelta(milliseconds=1)))
