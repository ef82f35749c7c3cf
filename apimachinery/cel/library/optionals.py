"""Optional values; ``or`` and ``orValue`` are evaluated lazily and live in the evaluator.

Unwrapping, ``x.?y``, ``x[?y]`` and the macros optMap and optFlatMap are the language's.
"""

from datetime import timedelta
from typing import Any

from ..overloads import standard
from ..values import NONE, Optional


@standard("optional.of(T) -> optional_type<T>")
def of(value: Any) -> Optional:
    return Optional.of(value)


@standard("optional.none() -> optional_type<T>")
def none() -> Optional:
    return NONE


@standard("optional.ofNonZeroValue(T) -> optional_type<T>")
def of_non_zero(value: Any) -> Optional:
    zero = value is None or (isinstance(value, (str, int, float, bytes, list, dict, timedelta)) and not value)
    return NONE if zero else Optional.of(value)


@standard("(optional_type<T>).hasValue() -> bool")
def has_value(value: Optional) -> bool:
    return value.present


@standard("(optional_type<T>).value() -> T")
def value_of(value: Optional) -> Any:
    return value.value()


@standard("optional.unwrap(list<T>) -> list<T>", "(list<T>).unwrapOpt() -> list<T>")
def unwrap(values: list[Any]) -> list[Any]:
    return [v.content for v in values if v.present]
