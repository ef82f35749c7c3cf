"""Optional values; ``or`` and ``orValue`` are evaluated lazily and live in the evaluator.

Unwrapping, ``x.?y``, ``x[?y]`` and the macros optMap and optFlatMap are the language's.
"""

from datetime import timedelta
from typing import Any

from ..overloads import implement, implement_all
from ..values import NONE, Optional


def _of_non_zero(value: Any) -> Optional:
    zero = value is None or (isinstance(value, (str, int, float, bytes, list, dict, timedelta)) and not value)
    return NONE if zero else Optional.of(value)


implement_all(
    {
        "optional.of(T) -> optional_type<T>": Optional.of,
        "optional.none() -> optional_type<T>": lambda: NONE,
        "optional.ofNonZeroValue(T) -> optional_type<T>": _of_non_zero,
        "(optional_type<T>).hasValue() -> bool": lambda value: value.present,
        "(optional_type<T>).value() -> T": Optional.value,
    },
    work=lambda *arguments: 0,
)
implement(
    "optional.unwrap(list<T>) -> list<T>",
    "(list<T>).unwrapOpt() -> list<T>",
    call=lambda values: [v.content for v in values if v.present],
)
