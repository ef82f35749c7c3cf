"""The table of functions: each overload's signature, for the checker, and what it does.

A signature is CEL's own way of writing one, with the receiver in parentheses: ``(string).find(string) -> string``.
A single capital letter is a type parameter.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from . import costs
from .errors import Budget
from .values import CLASSES, no_such_overload

Call = Callable[..., Any]
Work = Callable[..., int]
C = TypeVar("C", bound=type)
Json = dict[str, Any]
SIZED = (str, bytes, list, dict)


@dataclass(frozen=True, slots=True)
class TypeSpec:
    name: str
    parameters: tuple["TypeSpec", ...] = ()

    def config(self) -> Json:
        """As the checker's configuration has it."""
        if len(self.name) == 1:
            return {"type_name": self.name, "is_type_param": True}
        out: Json = {"type_name": self.name}
        if self.parameters:
            out["params"] = [p.config() for p in self.parameters]
        return out


def parse_type(text: str) -> TypeSpec:
    name, _, inner = text.strip().partition("<")
    return TypeSpec(name, tuple(parse_type(p) for p in _split(inner[:-1])) if inner else ())


def _split(text: str) -> list[str]:
    """At the commas that are in no brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "<") - (char == ">")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [p for p in parts if p.strip()]


@dataclass(frozen=True, slots=True)
class Overload:
    """See ``declare``; ``declared``: the checker does not know it by itself."""

    signature: str
    name: str
    member: bool
    parameters: tuple[TypeSpec, ...]
    result: TypeSpec
    call: Call
    work: Work
    budgeted: bool
    declared: bool

    def config(self) -> Json:
        arguments = [p.config() for p in self.parameters]
        out: Json = {"id": self.signature, "return": self.result.config()}
        if self.member:
            out["target"] = arguments.pop(0)
        return out | {"args": arguments}


OVERLOADS: dict[tuple[str, bool], list[Overload]] = {}
"""By name and whether it has a receiver."""

_SIGNATURE = re.compile(r"(?:\((?P<target>[^)]+)\)\.)?(?P<name>[^()]+)\((?P<arguments>.*)\) -> (?P<result>.+)")


def sized(*arguments: Any) -> int:
    """How many steps a call takes that goes through its arguments once, but not into what they contain."""
    return sum(len(a) for a in arguments if isinstance(a, SIZED)) // 10


def declare(*signatures: str, call: Call, work: Work = sized, budgeted: bool = False) -> None:
    """Functions that the checker has to be told of. ``work`` is how many steps a call with some arguments takes; one
    that is ``budgeted`` takes the budget as its first argument, to tell it what only it knows."""
    for signature in signatures:
        _add(signature, call, work, budgeted, True)


def implement(*signatures: str, call: Call, work: Work = sized, budgeted: bool = False) -> None:
    """Functions that the checker knows by itself."""
    for signature in signatures:
        _add(signature, call, work, budgeted, False)


def declare_all(functions: Mapping[str, Call]) -> None:
    """A table of functions, each by its signature."""
    for signature, call in functions.items():
        declare(signature, call=call)


def implement_all(functions: Mapping[str, Call], work: Work = sized) -> None:
    for signature, call in functions.items():
        implement(signature, call=call, work=work)


def _add(signature: str, call: Call, work: Work, budgeted: bool, declared: bool) -> None:
    found = _SIGNATURE.fullmatch(signature)
    assert found, signature  # noqa: S101 - our own table
    target, name = found["target"], found["name"]
    parameters = tuple(parse_type(p) for p in ([target] if target else []) + _split(found["arguments"]))
    overload = Overload(
        signature, name, target is not None, parameters, parse_type(found["result"]), call, work, budgeted, declared
    )
    OVERLOADS.setdefault((name, overload.member), []).append(overload)


def opaque(cls: C) -> C:
    """Register a class as the values of a Kubernetes type."""
    CLASSES[cls.cel_type] = cls  # type: ignore[attr-defined]
    return cls


Candidate = tuple[tuple[type | None, ...], Overload]


def candidates(name: str, member: bool, arity: int) -> Sequence[Candidate]:
    """The overloads of a function with so many arguments, each with the Python classes of its parameters."""
    found = (o for o in OVERLOADS.get((name, member), ()) if len(o.parameters) == arity)
    return [(tuple(CLASSES.get(p.name) for p in o.parameters), o) for o in found]


def apply(name: str, choices: Sequence[Candidate], arguments: Sequence[Any], budget: Budget) -> Any:
    """Call the overload that fits. Raises EvaluationError."""
    for classes, overload in choices:
        if all(map(_fits, classes, arguments)):
            budget.charge(costs.call(name)(arguments))
            budget.work(1 + overload.work(*arguments))
            return overload.call(budget, *arguments) if overload.budgeted else overload.call(*arguments)
    raise no_such_overload(name, *arguments)


def _fits(cls: type | None, value: Any) -> bool:
    if cls is None or type(value) is cls:
        return True
    return cls is not int and isinstance(value, cls)
