"""``Object{spec: Object.spec{...}}`` and ``JSONPatch{...}``: the types that a mutation makes.

An Object's fields are not known to the checker: any name goes, at any depth. Each type that an expression makes is
declared with the fields that it is given there; that names follow the path of fields is checked when it is evaluated.
Source: KEP-3962, ``k8s.io/apiserver/pkg/cel/mutation``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from protos.cel.expr.v1.checked_pb2 import Expr

from . import checker, program
from .errors import CompilationError, EvaluationError
from .messages import Messages
from .values import Struct

OBJECT, JSON_PATCH = "Object", "JSONPatch"
_JSON_PATCH_FIELDS = {"op": "string", "path": "string", "from": "string", "value": "dyn"}
_TEXT = r"""[rRbB]*(?:'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")|//[^\n]*"""
_NAME = re.compile(rf"{_TEXT}|\bObject((?:\s*\.\s*\w+)+)(?=\s*\{{)", re.DOTALL)


def compile_patch(expression: str, variables: Mapping[str, str], result: str, messages: Messages) -> program.Program:
    """Raises CompilationError."""
    names: dict[str, str] = {OBJECT: OBJECT}

    def flat(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        name = re.sub(r"\s", "", found[0])
        names[name.replace(".", "_")] = name
        return name.replace(".", "_")

    text = _NAME.sub(flat, expression)
    fields: dict[str, dict[str, str]] = {name: {} for name in names}
    for name, field in _made(checker.parse(text).expr):
        fields.setdefault(name, {})[field] = "dyn"
    fields[JSON_PATCH] = _JSON_PATCH_FIELDS
    own = messages.extended()
    for name in names | {JSON_PATCH: JSON_PATCH}:
        own.add(name, fields[name])
    try:
        return program.build(text, variables, result, own, aliases=names)
    except CompilationError as error:
        told = re.sub(r"\bObject_\w+", lambda found: names.get(found[0], found[0]), str(error))
        raise CompilationError(told) from None


def _made(expr: Expr) -> Iterator[tuple[str, str]]:
    """The fields that an expression sets, each with its type."""
    struct = expr.struct_expr
    if expr.HasField("struct_expr") and struct.message_name:
        yield from ((struct.message_name, e.field_key) for e in struct.entries)
    for inner in _parts(expr):
        yield from _made(inner)


def _parts(expr: Expr) -> Iterator[Expr]:
    call, loop = expr.call_expr, expr.comprehension_expr
    yield from call.args
    yield from expr.list_expr.elements
    if call.HasField("target"):
        yield call.target
    if expr.HasField("select_expr"):
        yield expr.select_expr.operand
    for entry in expr.struct_expr.entries:
        yield entry.value
        if entry.HasField("map_key"):
            yield entry.map_key
    if expr.HasField("comprehension_expr"):
        yield from (loop.iter_range, loop.accu_init, loop.loop_condition, loop.loop_step, loop.result)


def check_names(value: Any, path: str = OBJECT) -> None:
    """That every Object is where its name says. Raises EvaluationError."""
    if isinstance(value, Struct):
        if value.type_name != path:
            told = (
                f'unexpected type name "{value.type_name}", expected "{path}", which matches field name path from root'
            )
            raise EvaluationError(f"type mismatch: {told} Object type")
        for name, member in value.items():
            check_names(member, f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            check_names(item, path)
    elif isinstance(value, dict):
        for member in value.values():
            check_names(member, path)
