"""Field errors in upstream's words.

Source: ``k8s.io/apimachinery/pkg/util/validation/field/errors.go``.
"""

from collections.abc import Iterable, Sized
from typing import Any

import orjson

from apimachinery.errors import Cause

Causes = list[Cause]


def quoted(value: Any) -> str:
    """A bad value as upstream shows it: JSON, which quotes strings."""
    return orjson.dumps(value).decode()


def required(field: str, detail: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value: {detail}" if detail else "Required value", field)


def invalid(field: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {quoted(value)}: {detail}", field)


def each_invalid(field: str, value: Any, details: Iterable[str]) -> Causes:
    """One cause for each complaint of a check of ``apimachinery.validation``."""
    return [invalid(field, value, detail) for detail in details]


def not_supported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    allowed = ", ".join(quoted(s) for s in sorted(supported))
    return Cause("FieldValueNotSupported", f"Unsupported value: {quoted(value)}: supported values: {allowed}", field)


def one_of(field: str, value: Any, supported: Iterable[str], *, optional: bool = True) -> Causes:
    """An enumeration; an absent value is fine when ``optional``."""
    options = tuple(supported)
    if value in options or (optional and value in (None, "")):
        return []
    return [required(field) if value in (None, "") else not_supported(field, value, options)]


def duplicate(field: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", f"Duplicate value: {quoted(value)}", field)


def forbidden(field: str, detail: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {detail}", field)


def too_long(field: str, limit: int) -> Cause:
    return Cause("FieldValueTooLong", f"Too long: may not be more than {limit} bytes", field)


def too_many(field: str, actual: int, limit: int) -> Cause:
    return Cause("FieldValueTooMany", f"Too many: {actual}: must have at most {limit} items", field)


def at_most(field: str, items: Sized | None, limit: int) -> Causes:
    have = len(items or ())
    return [too_many(field, have, limit)] if have > limit else []


def immutable(field: str, value: Any) -> Cause:
    return invalid(field, value, "field is immutable")


def non_negative(field: str, value: Any) -> Causes:
    if value is None or value >= 0:
        return []
    return [invalid(field, value, "must be greater than or equal to 0")]
