"""What closures work on, and those that need nothing of the tree around them."""

from collections.abc import Callable, Sequence
from typing import Any

from . import overloads
from .errors import Budget, CompilationError, EvaluationError
from .values import Type

Frame = list[Any]
Closure = Callable[[Frame], Any]

TYPES = {
    n: Type(n)
    for n in ("int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type", "optional_type")
} | {f"google.protobuf.{n}": Type(f"google.protobuf.{n}") for n in ("Timestamp", "Duration")}


def always(value: Any) -> Closure:
    return lambda f: value


def accumulated(slot: int) -> Closure:
    """What a comprehension has so far: a value, or the error of an earlier step."""

    def read(f: Frame) -> Any:
        value = f[slot]
        if isinstance(value, EvaluationError):
            raise value
        return value

    return read


def dispatch(name: str, member: bool, arguments: Sequence[Closure]) -> Closure:
    choices = overloads.candidates(name, member, len(arguments))
    if not choices:
        raise CompilationError(f"function {name} of {len(arguments)} arguments is not supported")
    if len(arguments) == 1:
        only = arguments[0]
        return lambda f: overloads.apply(name, choices, (only(f),), f[0])
    return lambda f: overloads.apply(name, choices, [a(f) for a in arguments], f[0])


def unpaid(made: Closure) -> Closure:
    """A conversion of a constant: upstream does it beforehand."""
    return lambda f: made([Budget()])
