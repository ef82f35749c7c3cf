"""CEL's values in Python: JSON values as they are, and what JSON does not have.

int, str, bool, float, bytes, list, dict and None are themselves; a timestamp is an aware ``datetime``, a duration a
``timedelta``. ``bool`` is never an ``int`` here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar

from .errors import Budget, EvaluationError

INT = range(-(1 << 63), 1 << 63)
UINT = range(1 << 64)


class UInt(int):
    """An unsigned number: ``1u``."""


@dataclass(frozen=True, slots=True)
class Type:
    """The value of ``type(x)``."""

    name: str


class Opaque:
    """Base of Kubernetes' own types; each names itself."""

    cel_type: ClassVar[str]


class Struct(dict[str, Any]):
    """What ``Object.spec{...}`` makes: a map that knows its type's name."""

    __slots__ = ("type_name",)

    def __init__(self, type_name: str, members: dict[str, Any]) -> None:
        super().__init__(members)
        self.type_name = type_name


class Unordered(list[Any]):
    """A list that a schema says is a set, or with ``keys`` a map: its order does not count."""

    def __init__(self, items: Iterable[Any], keys: Sequence[str] = ()) -> None:
        super().__init__(items)
        self.keys = keys

    def key(self, item: Any) -> Any:
        """What tells an item from others; itself in a set."""
        return [item.get(k) for k in self.keys] if self.keys and isinstance(item, dict) else item

    def equals(self, other: list[Any], budget: Budget) -> bool:
        budget.work(len(self) * len(other))
        return len(self) == len(other) and all(any(equal(a, b, budget) for b in other) for a in self)

    def merged(self, other: list[Any], budget: Budget) -> "Unordered":
        """``self + other``: what both have keeps its place and is that of ``other``."""
        budget.work(len(self) * len(other))
        made = Unordered(self, self.keys)
        for item in other:
            at = next((i for i, own in enumerate(made) if equal(self.key(own), self.key(item), budget)), None)
            if at is None:
                made.append(item)
            else:
                made[at] = item
        return made


@dataclass(frozen=True, slots=True)
class Optional:
    """A value that may be absent."""

    present: bool = False
    content: Any = field(default=None)

    @classmethod
    def of(cls, content: Any) -> "Optional":
        return cls(True, content)

    def value(self) -> Any:
        if not self.present:
            raise EvaluationError("optional.none() dereference")
        return self.content


NONE = Optional()

CLASSES: dict[str, type] = {
    "string": str,
    "int": int,
    "uint": UInt,
    "double": float,
    "bool": bool,
    "bytes": bytes,
    "list": list,
    "map": dict,
    "timestamp": datetime,
    "duration": timedelta,
    "optional_type": Optional,
    "type": Type,
    "null_type": type(None),
}
_NAMES = {c: name for name, c in CLASSES.items()} | {
    datetime: "google.protobuf.Timestamp",
    timedelta: "google.protobuf.Duration",
}


def type_name(value: object) -> str:
    """What CEL calls the type of a value."""
    if isinstance(value, (Opaque, Struct)):
        return value.cel_type if isinstance(value, Opaque) else value.type_name
    name = _NAMES.get(type(value))
    if name is not None:
        return name
    return "map" if isinstance(value, dict) else "list" if isinstance(value, list) else type(value).__name__


def no_such_overload(function: str, *arguments: object) -> EvaluationError:
    types = ", ".join(type_name(a) for a in arguments)
    return EvaluationError(f"no such overload: {function}({types})")


def number(value: int, kind: type[int] = int) -> int:
    """An int or uint in its bounds. Raises EvaluationError."""
    if kind is UInt:
        if value not in UINT:
            raise EvaluationError("unsigned integer overflow")
        return UInt(value)
    if value not in INT:
        raise EvaluationError("integer overflow")
    return value


NUMBERS = frozenset((int, float, UInt))
_PLAIN = frozenset((str, int, bool, float, bytes, UInt, type(None)))


def equal(a: Any, b: Any, budget: Budget) -> bool:
    """CEL's ``==``: numbers of different types compare by value, other different types differ."""
    kind = type(a)
    if kind in _PLAIN or type(b) in _PLAIN:
        if kind is str:
            budget.work(len(a) // 10)
        return bool(a == b) if kind is type(b) or (kind in NUMBERS and type(b) in NUMBERS) else False
    if isinstance(a, list) and isinstance(b, list):
        if isinstance(a, Unordered):
            return a.equals(b, budget)
        budget.work(len(a))
        return len(a) == len(b) and all(equal(x, y, budget) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        budget.work(len(a))
        return len(a) == len(b) and all(k in b and equal(v, b[k], budget) for k, v in a.items())
    if isinstance(a, Optional) and isinstance(b, Optional):
        return a.present == b.present and equal(a.content, b.content, budget)
    return kind is type(b) and bool(a == b)


def compare(a: Any, b: Any, function: str, test: Callable[[Any, Any], bool]) -> bool:
    """An ordering of two values of one type, or of two numbers. Raises EvaluationError."""
    kind, other = type(a), type(b)
    if kind in _ORDERED and (kind is other or (kind in NUMBERS and other in NUMBERS)):
        return test(a, b)
    raise no_such_overload(function, a, b)


_ORDERED = frozenset((int, float, UInt, str, bytes, bool, datetime, timedelta))
