"""What a schema says of a JSON value that JSON itself does not: it is a time, a duration, bytes, or a fraction."""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from protos.cel.expr.v1.checked_pb2 import Type

from .errors import EvaluationError

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def timestamp(value: Any) -> Any:
    """RFC 3339 with a precision of microseconds; a date alone is its midnight. Raises EvaluationError."""
    if not isinstance(value, str):
        return value
    found = _TIME.fullmatch(value)
    try:
        if found:
            day, clock, fraction, zone = found.groups()
            text = f"{day}T{clock}.{(fraction or '0')[:6]:0<6}{zone.upper().replace('Z', '+00:00')}"
            return datetime.fromisoformat(text).astimezone(UTC)
        if _DATE.fullmatch(value):
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise EvaluationError(f"invalid timestamp {value!r}: {error}") from None
    raise EvaluationError(f"invalid timestamp {value!r}")


def duration(value: Any) -> Any:
    """Go's notation, ``1h30m``. Raises EvaluationError."""
    if not isinstance(value, str):
        return value
    sign, text = (-1, value[1:]) if value.startswith("-") else (1, value.removeprefix("+"))
    parts = _PART.findall(text)
    if text == "0":
        return timedelta()
    if not parts or "".join(n + u for n, u in parts) != text:
        raise EvaluationError(f"invalid duration {value!r}")
    try:
        return sign * sum((timedelta(seconds=float(n) * _SECONDS[u]) for n, u in parts), timedelta())
    except OverflowError:
        raise EvaluationError(f"duration {value!r} is out of range") from None


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise EvaluationError(f"invalid base64: {error}") from None


def _double(value: Any) -> Any:
    return float(value) if type(value) is int else value


COERCIONS: dict[tuple[int, int], Callable[[Any], Any]] = {
    (Type.TIMESTAMP, Type.NONE): timestamp,
    (Type.DURATION, Type.NONE): duration,
    (Type.UNKNOWN, Type.BYTES): _bytes,
    (Type.UNKNOWN, Type.DOUBLE): _double,
}
"""By (well-known type, primitive type) of a node."""
