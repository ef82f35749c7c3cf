"""What is written out in an expression and cannot be: mixed lists and maps, times and patterns that are none, texts
to format that do not fit what they are given, and conversions that fail.

Source: ``cel-go/cel/validator.go``, ``cel-go/ext/formatting.go``, and ``cel-go/interpreter/decorators.go``, which
converts constants beforehand.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from protos.cel.expr.v1.checked_pb2 import CheckedExpr, Expr, Type

from . import overloads
from .coercions import duration, timestamp
from .errors import Budget, CompilationError, EvaluationError
from .library.formatting import STRING, parse
from .library.standard import pattern

_CHECKED = {"matches": pattern, "duration": duration, "timestamp": timestamp}
_BEFOREHAND = {"find": pattern, "findAll": pattern}
_CONVERSIONS = ("bool", "bytes", "double", "int", "string", "uint")
_PRIMITIVES = ("", "bool", "int", "uint", "double", "string", "bytes")
_KNOWN = ("", "any", "timestamp", "duration")
_RUNTIME_NAMES = {"list_type": "list", "map_type": "map", "type": "type", "null": "null_type", "dyn": ""}


def check(text: str, tree: CheckedExpr) -> None:
    """Raises CompilationError."""
    found = [_told(text, tree, at, what) for at, what in _mistakes(tree, tree.expr, False)]
    if found:
        raise CompilationError("\n".join(found))
    _convert(tree.expr)


def _told(text: str, tree: CheckedExpr, at: int, what: str) -> str:
    before = text[: tree.source_info.positions[at]]
    line, column = before.count("\n"), len(before) - before.rfind("\n")
    return f"ERROR: <input>:{line + 1}:{column}: {what}\n | {text.splitlines()[line]}\n | {'.' * (column - 1)}^"


def _mistakes(tree: CheckedExpr, expr: Expr, mixed: bool) -> Iterator[tuple[int, str]]:
    """Nodes and what is wrong with them. ``mixed``: within what ``format`` is given, where types may differ."""
    if expr.HasField("list_expr") and not mixed:
        optional = expr.list_expr.optional_indices
        yield from _same(tree, [(e, i in optional) for i, e in enumerate(expr.list_expr.elements)])
    if expr.HasField("struct_expr") and not expr.struct_expr.message_name and not mixed:
        entries = expr.struct_expr.entries
        yield from _same(tree, [(e.map_key, False) for e in entries])
        yield from _same(tree, [(e.value, e.optional_entry) for e in entries])
    if expr.HasField("call_expr"):
        call = expr.call_expr
        mixed = mixed or call.function == "format"
        if call.function in _CHECKED and call.args and call.args[0].HasField("const_expr"):
            yield from _literal(call.function, call.args[0])
        if call.function == "format" and call.target.const_expr.HasField("string_value") and _is_list(call.args):
            yield from _format(tree, expr)
    for inner in _inside(expr):
        yield from _mistakes(tree, inner, mixed)


def _same(tree: CheckedExpr, parts: list[tuple[Expr, bool]]) -> Iterator[tuple[int, str]]:
    first: Type | None = None
    for part, optional in parts:
        found = tree.type_map[part.id]
        if optional:
            found = found.abstract_type.parameter_types[0]
        first = first or found
        if found != first:
            yield part.id, f"expected type '{_name(first)}' but found '{_name(found)}'"
            return


def _literal(function: str, argument: Expr) -> Iterator[tuple[int, str]]:
    try:
        _CHECKED[function](argument.const_expr.string_value)
    except EvaluationError:
        yield argument.id, f"invalid {function} argument"


def _is_list(arguments: Sequence[Expr]) -> bool:
    return len(arguments) == 1 and arguments[0].HasField("list_expr")


def _format(tree: CheckedExpr, call: Expr) -> Iterator[tuple[int, str]]:
    given = call.call_expr.args[0].list_expr.elements
    parts = parse(call.call_expr.target.const_expr.string_value, len(given))
    try:
        for count, part in enumerate(parts):
            if isinstance(part, str):
                if count < len(given):
                    what = f"too many arguments supplied to string.format (expected {count}, got {len(given)})"
                    yield call.id, what
                return
            wrong = _not_shown(tree, given[count]) if part.clause is STRING else given[count]
            name = _runtime_name(tree.type_map[wrong.id]) if wrong else ""
            if wrong and name and (why := part.clause.check(name)):
                yield wrong.id, why
                return
    except EvaluationError as error:
        yield call.id, str(error)


def _not_shown(tree: CheckedExpr, expr: Expr) -> Expr | None:
    """What cannot be shown as a string: the expression, or something that is written out in it."""
    name = _runtime_name(tree.type_map[expr.id])
    if name and STRING.check(name):
        return expr
    if expr.HasField("list_expr"):
        parts = list(expr.list_expr.elements)
    elif expr.HasField("struct_expr"):
        parts = [part for entry in expr.struct_expr.entries for part in (entry.map_key, entry.value)]
    else:
        return None
    return next((found for part in parts if (found := _not_shown(tree, part))), None)


def _convert(expr: Expr) -> None:
    """Raises CompilationError for what can be seen to fail before there are any values."""
    call = expr.call_expr
    if len(call.args) and call.args[-1].HasField("const_expr"):
        constant = call.args[-1].const_expr
        value: Any = getattr(constant, constant.WhichOneof("kind") or "null_value")
        try:
            if call.function in _BEFOREHAND and call.HasField("target"):
                _BEFOREHAND[call.function](call.args[0].const_expr.string_value)
            elif call.function in _CONVERSIONS and len(call.args) == 1 and not constant.HasField("uint64_value"):
                overloads.apply(call.function, overloads.candidates(call.function, False, 1), [value], Budget())
        except EvaluationError as error:
            raise CompilationError(f"program instantiation failed: {error}") from None
    for inner in _inside(expr):
        _convert(inner)


def _inside(expr: Expr) -> Iterator[Expr]:
    match expr.WhichOneof("kind"):
        case "select_expr":
            yield expr.select_expr.operand
        case "call_expr":
            if expr.call_expr.HasField("target"):
                yield expr.call_expr.target
            yield from expr.call_expr.args
        case "list_expr":
            yield from expr.list_expr.elements
        case "struct_expr":
            for entry in expr.struct_expr.entries:
                if entry.HasField("map_key"):
                    yield entry.map_key
                yield entry.value
        case "comprehension_expr":
            loop = expr.comprehension_expr
            yield from (loop.iter_range, loop.accu_init, loop.loop_condition, loop.loop_step, loop.result)


def _name(found: Type) -> str:
    """As upstream writes a type."""
    match found.WhichOneof("kind"):
        case "primitive":
            return _PRIMITIVES[found.primitive]
        case "wrapper":
            return f"wrapper({_PRIMITIVES[found.wrapper]})"
        case "well_known":
            return _KNOWN[found.well_known]
        case "list_type":
            return f"list({_name(found.list_type.elem_type)})"
        case "map_type":
            return f"map({_name(found.map_type.key_type)}, {_name(found.map_type.value_type)})"
        case "abstract_type":
            inner = ", ".join(map(_name, found.abstract_type.parameter_types))
            return f"{found.abstract_type.name}({inner})" if inner else found.abstract_type.name
        case "type":
            return f"type({_name(found.type)})"
        case "null":
            return "null"
    return found.message_type or found.type_param or "dyn"


def _runtime_name(found: Type) -> str:
    """What a value of the type calls its type; "" where only the value can tell."""
    kind = found.WhichOneof("kind") or ""
    if kind in _RUNTIME_NAMES:
        return _RUNTIME_NAMES[kind]
    if kind == "wrapper":
        return _PRIMITIVES[found.wrapper]
    if kind == "well_known":
        return f"google.protobuf.{_KNOWN[found.well_known].capitalize()}"
    return found.abstract_type.name or _name(found)
