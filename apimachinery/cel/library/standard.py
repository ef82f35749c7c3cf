"""CEL's standard functions: sizes, conversions, text search, and the parts of a time."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import re2

from ..coercions import duration, timestamp
from ..errors import EvaluationError
from ..overloads import function, standard
from ..values import Type, UInt, number, type_name

ORDERED = ("int", "uint", "double", "string", "bytes", "bool", "timestamp", "duration")
NUMBERS = ("int", "uint", "double")
_PAIRS = [(a, a) for a in ORDERED] + [(a, b) for a in NUMBERS for b in NUMBERS if a != b]


def _unreachable(*arguments: object) -> Any:
    raise AssertionError("an operator is evaluated by the table of operators")


for _name in ("_<_", "_<=_", "_>_", "_>=_"):
    function(*(f"{_name}({a}, {b}) -> bool" for a, b in _PAIRS))(_unreachable)


@standard("size(string) -> int", "size(bytes) -> int", "size(list<A>) -> int", "size(map<A, B>) -> int")
@standard("(string).size() -> int", "(bytes).size() -> int", "(list<A>).size() -> int", "(map<A, B>).size() -> int")
def size(value: Any) -> int:
    return len(value)


@standard("type(A) -> type")
def type_of(value: Any) -> Type:
    return Type(type_name(value))


@standard("dyn(A) -> dyn")
def dyn(value: Any) -> Any:
    return value


@standard("(string).contains(string) -> bool")
def contains(text: str, part: str) -> bool:
    return part in text


@standard("(string).startsWith(string) -> bool")
def starts_with(text: str, part: str) -> bool:
    return text.startswith(part)


@standard("(string).endsWith(string) -> bool")
def ends_with(text: str, part: str) -> bool:
    return text.endswith(part)


def pattern(text: str) -> Any:
    """A compiled regular expression of RE2: it never backtracks. Raises EvaluationError."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        raise EvaluationError(f"error parsing regexp: {error.args[0].decode(errors='replace')}") from None


@standard("(string).matches(string) -> bool", "matches(string, string) -> bool")
def matches(text: str, expression: str) -> bool:
    return pattern(expression).search(text) is not None


@function("string(int) -> string", "string(uint) -> string", "string(string) -> string")
def string(value: Any) -> str:
    return str(value)


@function("string(bool) -> string")
def string_bool(value: bool) -> str:
    return "true" if value else "false"


@function("string(double) -> string")
def string_double(value: float) -> str:
    if not math.isfinite(value):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)


@function("string(bytes) -> string")
def string_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None


@function("string(timestamp) -> string")
def string_timestamp(value: datetime) -> str:
    text = value.astimezone(UTC).isoformat().replace("+00:00", "")
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "Z"


@function("string(duration) -> string")
def string_duration(value: timedelta) -> str:
    micros = value // timedelta(microseconds=1)
    whole, part = divmod(abs(micros), 1_000_000)
    fraction = f".{part:06}".rstrip("0") if part else ""
    return f"{'-' if micros < 0 else ''}{whole}{fraction}s"


@standard("int(int) -> int", "int(uint) -> int", "int(double) -> int")
def integer(value: Any) -> int:
    if isinstance(value, float) and not -(2.0**63) < value < 2.0**63:
        raise EvaluationError("integer overflow")
    return number(int(value))


@standard("int(string) -> int")
def integer_text(value: str) -> int:
    try:
        return number(int(value)) if value.strip() == value and "_" not in value else int("")
    except ValueError:
        raise EvaluationError(f"type conversion error from 'string' to 'int': {value!r}") from None


@standard("int(timestamp) -> int")
def integer_timestamp(value: datetime) -> int:
    return int(value.timestamp() // 1)


@standard("uint(int) -> uint", "uint(uint) -> uint", "uint(double) -> uint")
def unsigned(value: Any) -> int:
    return number(integer(value) if isinstance(value, float) else int(value), UInt)


@standard("uint(string) -> uint")
def unsigned_text(value: str) -> int:
    return number(integer_text(value), UInt)


@standard("double(int) -> double", "double(uint) -> double", "double(double) -> double", "double(string) -> double")
def double(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise EvaluationError(f"type conversion error from 'string' to 'double': {value!r}") from None


@standard("bool(bool) -> bool")
def boolean(value: bool) -> bool:
    return value


@standard("bool(string) -> bool")
def boolean_text(value: str) -> bool:
    if value in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if value in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise EvaluationError(f"type conversion error from 'string' to 'bool': {value!r}")


@standard("bytes(bytes) -> bytes")
def same_bytes(value: bytes) -> bytes:
    return value


@standard("bytes(string) -> bytes")
def encoded(value: str) -> bytes:
    return value.encode()


standard("timestamp(string) -> timestamp", "timestamp(timestamp) -> timestamp")(timestamp)
standard("duration(string) -> duration", "duration(duration) -> duration")(duration)


@standard("timestamp(int) -> timestamp")
def timestamp_seconds(value: int) -> datetime:
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError):
        raise EvaluationError("timestamp overflow") from None


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
_LENGTHS = {"getHours": 3_600_000_000, "getMinutes": 60_000_000, "getSeconds": 1_000_000}


def _register_part(name: str, part: Callable[[datetime], int]) -> None:
    standard(f"(timestamp).{name}() -> int")(lambda t: part(t.astimezone(UTC)))
    standard(f"(timestamp).{name}(string) -> int")(lambda t, zone: part(t.astimezone(_zone(zone))))


def _register_length(name: str, micros: int) -> None:
    unit = timedelta(microseconds=micros)
    standard(f"(duration).{name}() -> int")(lambda d: int(d / unit))


for _name, _part in _PARTS.items():
    _register_part(_name, _part)
for _name, _micros in _LENGTHS.items():
    _register_length(_name, _micros)
standard("(duration).getMilliseconds() -> int")(lambda d: d // timedelta(milliseconds=1) % 1000)
