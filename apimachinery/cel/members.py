"""Reaching into values: fields, keys, indices, presence, and what a comprehension walks over."""

from collections.abc import Iterable, Sequence
from typing import Any

from .errors import EvaluationError
from .values import NONE, Optional, UInt, no_such_overload


def key(value: Any) -> Any:
    """A map's key. Raises EvaluationError for what cannot be one."""
    if isinstance(value, (str, bool, int)):
        return value
    raise no_such_overload("unsupported key type", value)


def select_otherwise(value: Any, spellings: Sequence[str]) -> Any:
    """A field that is not there under its own name: an escaped one, or one of an optional value."""
    if isinstance(value, Optional):
        return optional(value, spellings)
    if not isinstance(value, dict):
        raise no_such_overload("select", value)
    for name in spellings[1:]:
        if name in value:
            return value[name]
    raise EvaluationError(f"no such key: {spellings[-1]}")


def has(value: Any, spellings: Sequence[str]) -> bool:
    """Whether a field is present; null is absent, as upstream prunes it."""
    if isinstance(value, Optional):
        return value.present and has(value.content, spellings)
    if not isinstance(value, dict):
        raise no_such_overload("has", value)
    return any(name in value for name in spellings)


def optional(value: Any, keys: Sequence[Any]) -> Optional:
    """``value.?field`` and ``value[?key]``."""
    if isinstance(value, Optional):
        return optional(value.content, keys) if value.present else NONE
    if isinstance(value, dict):
        return next((Optional.of(value[key(k)]) for k in keys if key(k) in value), NONE)
    if isinstance(value, list) and type(keys[0]) in (int, UInt):
        return Optional.of(value[keys[0]]) if 0 <= keys[0] < len(value) else NONE
    raise no_such_overload("_?._", value)


def index(value: Any, at: Any) -> Any:
    """``value[at]``. Raises EvaluationError."""
    if isinstance(value, dict):
        try:
            return value[key(at)]
        except KeyError:
            raise EvaluationError(f"no such key: {at}") from None
    if isinstance(value, list):
        position = int(at) if isinstance(at, float) and at.is_integer() else at
        if isinstance(position, bool) or not isinstance(position, int):
            raise no_such_overload("_[_]", value, at)
        if not 0 <= position < len(value):
            raise EvaluationError(f"index out of bounds: {position}")
        return value[position]
    if isinstance(value, Optional):
        return optional(value, (at,))
    raise no_such_overload("_[_]", value, at)


def items(value: Any, pairs: bool) -> Iterable[Any]:
    """What a comprehension goes through: elements or keys; with ``pairs`` (index, element) or (key, value)."""
    if isinstance(value, list):
        return enumerate(value) if pairs else value
    if isinstance(value, dict):
        return list(value.items()) if pairs else list(value)
    raise no_such_overload("comprehension", value)
