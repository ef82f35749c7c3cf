"""The quick answer to "is this value exactly as it would be stored?", one closure a type.

Nearly every object is, and then nothing else looks at it: a pod takes some ten microseconds. Where the answer is no,
``decode.py`` finds out why.
"""

import binascii
import re
from collections.abc import Callable
from datetime import date
from typing import Any

from apimachinery import quantity
from apimachinery.schema.model import Schema

Check = Callable[[Any], bool]

_SECOND = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_time = re.compile(_SECOND + "Z").fullmatch
_microtime = re.compile(_SECOND + r"\.[0-9]{6}Z").fullmatch


def _is_day(time: str) -> bool:
    """Whether the calendar has the day: not every month has 31, and there is no year 0."""
    try:
        date.fromisoformat(time[:10])
    except ValueError:
        return False
    return True


def checker(schema: Schema) -> Check:
    """The check of a type, made when first asked for."""
    if schema.checker is None:
        schema.checker = _make(schema)
    return schema.checker


def _make(schema: Schema) -> Check:
    match schema.form:
        case "object":
            return _object_check(schema)
        case "list" | "map":
            return _list_check(schema) if schema.form == "list" else _map_check(schema)
    return SCALAR_CHECKS[schema.form]


def _object_check(schema: Schema) -> Check:
    checks: dict[str, Check] = {}
    open_, omits = schema.open, schema.omits

    def check(value: Any) -> bool:
        if value.__class__ is not dict:
            return False
        for key, member in value.items():
            known = checks.get(key)
            if known is None:
                known = learn(key)
                if known is None:
                    if open_:
                        continue
                    return False
            if not known(member) or (not member and key in omits):
                return False
        return True

    def learn(key: str) -> Check | None:
        # Types refer to one another in circles, so members are looked up when first seen.
        member = schema.members().get(key)
        if member is None:
            return None
        made = checks[key] = checker(member)
        return made

    return check


def _list_check(schema: Schema) -> Check:
    item = _lazy(schema.item)

    def check(value: Any) -> bool:
        if value.__class__ is not list:
            return False
        for element in value:  # noqa: SIM110 - all() with a generator takes twice the time
            if not item(element):
                return False
        return True

    return check


def _map_check(schema: Schema) -> Check:
    item = _lazy(schema.item)

    def check(value: Any) -> bool:
        if value.__class__ is not dict:
            return False
        for element in value.values():  # noqa: SIM110
            if not item(element):
                return False
        return True

    return check


def _lazy(schema: Schema | None) -> Check:
    if schema is None:
        return _any
    return checker(schema) if schema.form != "object" else _object_check(schema)


def _any(value: Any) -> bool:
    return True


def _string(value: Any) -> bool:
    return value.__class__ is str


def _bool(value: Any) -> bool:
    return value.__class__ is bool


def _int32(value: Any) -> bool:
    return value.__class__ is int and -0x80000000 <= value <= 0x7FFFFFFF


def _int64(value: Any) -> bool:
    return value.__class__ is int and -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF


def _double(value: Any) -> bool:
    return value.__class__ is float or value.__class__ is int


def _bytes(value: Any) -> bool:
    if value.__class__ is not str:
        return False
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        return False
    return True


def _quantity(value: Any) -> bool:
    try:
        return value.__class__ is str and quantity.canonical(value) == value
    except quantity.QuantityError:
        return False


def _int_or_string(value: Any) -> bool:
    return value.__class__ is str or _int32(value)


SCALAR_CHECKS: dict[str, Check] = {
    "any": _any,
    "string": _string,
    "bool": _bool,
    "int32": _int32,
    "int64": _int64,
    "double": _double,
    "bytes": _bytes,
    "time": lambda v: v.__class__ is str and _time(v) is not None and ((v[8:10] < "29" and v[0] != "0") or _is_day(v)),
    "microtime": lambda v: (
        v.__class__ is str and _microtime(v) is not None and ((v[8:10] < "29" and v[0] != "0") or _is_day(v))
    ),
    "quantity": _quantity,
    "intorstring": _int_or_string,
}
