"""Parsing and type checking, done by the C++ implementation of CEL.

It is told of Kubernetes' functions and types by a configuration that is made from the table of overloads.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from cel_expr_python import cel
from google.protobuf import any_pb2

from protos.cel.expr.v1 import checked_pb2

from . import library
from .errors import CompilationError
from .messages import Messages
from .overloads import OVERLOADS, parse_type

EXTENSIONS = ("optional", "two-var-comprehensions", "sets", "lists")
REPLACED = ("_<_", "_<=_", "_>_", "_>=_", "string")
"""Functions of the standard library that Kubernetes gives more overloads: ours replace them."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A syntax tree with the types of its nodes; ``result`` is the type of the whole, as CEL writes it."""

    tree: checked_pb2.CheckedExpr
    result: str


def check(expression: str, variables: Mapping[str, str], messages: Messages | None = None) -> Checked:
    """Raises CompilationError."""
    environment = _environment(tuple(sorted(variables.items())), messages)
    try:
        compiled = environment.compile(expression)
    except RuntimeError as error:
        raise CompilationError(_message(str(error))) from None
    tree = checked_pb2.CheckedExpr.FromString(any_pb2.Any.FromString(compiled.serialize()).value)
    return Checked(tree, _type_name(compiled.return_type()))


def parse(expression: str) -> checked_pb2.ParsedExpr:
    """The syntax tree alone. Raises CompilationError."""
    try:
        compiled = _environment((), None).compile(expression, disable_check=True)
    except RuntimeError as error:
        raise CompilationError(_message(str(error))) from None
    return checked_pb2.ParsedExpr.FromString(any_pb2.Any.FromString(compiled.serialize()).value)


def assignable(found: str, wanted: str) -> bool:
    """Whether a value of one type serves as another; dyn in either serves as anything."""
    a, b = parse_type(found), parse_type(wanted)
    if "dyn" in (a.name, b.name):
        return True
    if a.name != b.name or len(a.parameters) != len(b.parameters):
        return False
    return all(assignable(_text(x), _text(y)) for x, y in zip(a.parameters, b.parameters, strict=True))


def _environment(variables: tuple[tuple[str, str], ...], messages: Messages | None) -> cel.Env:
    """Kept as long as the types are that it is for."""
    known: dict[Any, cel.Env] = _plain if messages is None else messages.environments
    if variables not in known:
        known[variables] = _make(variables, messages)
    return known[variables]


_plain: dict[Any, cel.Env] = {}
"""Environments without types of their own: there are only as many as sorts of expressions."""


def _make(variables: tuple[tuple[str, str], ...], messages: Messages | None) -> cel.Env:
    # The library's own notation of types does not know optional ones: those are told in the configuration.
    optional = tuple(v for v in variables if "optional_type" in v[1])
    others = {name: cel.Type(text) for name, text in variables if "optional_type" not in text}
    return cel.NewEnv(messages and messages.pool(), config=_config(optional), variables=others)


@lru_cache(4)
def _config(variables: tuple[tuple[str, str], ...]) -> cel.EnvConfig:
    """To read it takes longer than to check an expression."""
    told = _library() | {"variables": [{"name": n} | parse_type(t).config() for n, t in variables]}
    return cel.NewEnvConfigFromYaml(json.dumps(told))


@cache
def _library() -> dict[str, Any]:
    library.load()
    functions: dict[str, list[Any]] = {}
    for (name, _), overloads in OVERLOADS.items():
        mine = [o.config() for o in overloads if o.declared]
        if mine:
            functions.setdefault(name, []).extend(mine)
    return {
        "name": "kubernetes",
        "stdlib": {"exclude_functions": [{"name": n} for n in REPLACED]},
        "extensions": [{"name": n} for n in EXTENSIONS],
        "functions": [{"name": name, "overloads": overloads} for name, overloads in functions.items()],
    }


_STATUS = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")


def _message(text: str) -> str:
    """The checker's findings in the words of upstream's checker."""
    text = _STATUS.sub("", text)
    text = re.sub(r"(undeclared reference to '\w+)\.[^']*'", r"\1'", text)
    return re.sub(r"(undefined field '[^']*') not found in struct '[^']*'", r"\1", text)


_SHORT = {"null": "null_type"}


def _type_name(found: cel.Type) -> str:
    """``LIST<INT>`` as ``list<int>``; names of messages stay."""
    name = re.sub(r"\b[A-Z]+\b", lambda word: word[0].lower(), found.name())
    return _SHORT.get(name, name)


def _text(spec: Any) -> str:
    inner = ", ".join(_text(p) for p in spec.parameters)
    return f"{spec.name}<{inner}>" if inner else str(spec.name)
