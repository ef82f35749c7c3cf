"""``string.format``: the clauses %s %d %f %e %b %o %x %X of cel-go's extension library."""

import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import orjson

from ..errors import EvaluationError
from ..values import Type, UInt, type_name
from .standard import string_bytes, string_double, string_duration, string_timestamp

_CLAUSE = re.compile(r"%(?:(%)|(?:\.(\d+))?([sdfebxXo]))")
MAX_PRECISION = 1000
_SUPERSCRIPT = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


def render(text: str, arguments: list[Any]) -> str:
    """Raises EvaluationError: too few arguments, or one that its clause cannot show."""
    rest = iter(arguments)

    def clause(found: re.Match[str]) -> str:
        if found[1]:
            return "%"
        try:
            value = next(rest)
        except StopIteration:
            raise EvaluationError(f"index {len(arguments)} out of range") from None
        precision = int(found[2] or _PLACES)
        if precision > MAX_PRECISION:
            raise EvaluationError(f"precision {precision} is too large")
        return _CLAUSES[found[3]](value, precision)

    stray = _CLAUSE.sub("", text).find("%")
    if stray >= 0:
        raise EvaluationError("could not parse formatting clause: unrecognized or missing clause after '%'")
    return _CLAUSE.sub(clause, text)


_PLACES = 6


def deep(value: Any) -> int:
    """How many steps it takes to show a value with all that is inside."""
    if isinstance(value, dict):
        return 5 + sum(deep(k) + deep(v) for k, v in value.items())
    if isinstance(value, list):
        return 5 + sum(map(deep, value))
    return 5 + (len(value) // 10 if isinstance(value, (str, bytes)) else 0)


def _string(value: Any, precision: int = 0) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_inside, value))}]"
    if isinstance(value, dict):
        members = sorted((_inside(k), _inside(v)) for k, v in value.items())
        return "{" + ", ".join(f"{k}:{v}" for k, v in members) + "}"
    if value is None:
        return "null"
    if isinstance(value, Type):
        return value.name
    show = _SHOWN.get(type(value))
    if show is not None:
        return str(show(value))
    raise EvaluationError(f"error during formatting: string clause cannot show {type_name(value)}")


def _inside(value: Any) -> str:
    """Of a list or map: strings are quoted."""
    return orjson.dumps(value).decode() if isinstance(value, str) else _string(value)


def _decimal(value: Any, precision: int) -> str:
    if type(value) in (int, UInt):
        return str(int(value))
    if isinstance(value, float) and not math.isfinite(value):
        return _string(value)
    raise EvaluationError(f"error during formatting: decimal clause can only be used on integers, {_was(value)}")


def _fixed(code: str) -> Callable[[Any, int], str]:
    def show(value: Any, precision: int) -> str:
        if type(value) not in (int, UInt, float):
            raise EvaluationError(f"error during formatting: %{code} can only be used on doubles, {_was(value)}")
        places = precision if code == "f" else _PLACES  # upstream does not heed how many an exponent's were asked for
        mantissa, mark, exponent = f"{float(value):.{places}{code}}".partition("e")
        return mantissa + ("\u00d710" + exponent.lstrip("+").translate(_SUPERSCRIPT) if mark else "")

    return show


def _based(code: str) -> Callable[[Any, int], str]:
    def show(value: Any, precision: int) -> str:
        if code == "b" and isinstance(value, bool):
            return "1" if value else "0"
        if code in "xX" and isinstance(value, (str, bytes)):
            text = (value.encode() if isinstance(value, str) else value).hex()
            return text.upper() if code == "X" else text
        if type(value) not in (int, UInt):
            raise EvaluationError(f"error during formatting: %{code} can only be used on integers, {_was(value)}")
        return format(int(value), code)

    return show


def _was(value: Any) -> str:
    return f"was given {type_name(value)}"


_SHOWN: dict[type, Callable[[Any], object]] = {
    str: str,
    int: str,
    UInt: int,
    bool: lambda value: "true" if value else "false",
    float: string_double,
    bytes: string_bytes,
    datetime: string_timestamp,
    timedelta: string_duration,
}
_CLAUSES: dict[str, Callable[[Any, int], str]] = {
    "s": _string,
    "d": _decimal,
    **{code: _fixed(code) for code in "fe"},
    **{code: _based(code) for code in "boxX"},
}
