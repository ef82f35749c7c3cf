"""What a rule may cost at worst, from its syntax and the limits in its schema: known before any object is.

A lower bound of upstream's estimate: what upstream refuses for less than loops over lists, maps and long strings, this
lets through. The budget at run time holds in any case.
Source: ``cel-go/checker/cost.go``, ``k8s.io/apiserver/pkg/cel/limits.go``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from protos.cel.expr.v1.checked_pb2 import Expr

Raw = Mapping[str, Any]
RULE_LIMIT = 10_000_000
DEFINITION_LIMIT = 100_000_000
REQUEST_BYTES = 3 * 1024 * 1024
_TRAVERSAL = 0.1
_ADVICE = "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings"
_SHORT = {"date": 12, "date-time": 32, "duration": 32}
_COMPARISONS = ("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_")


def exceeded(cost: float, limit: int, what: str) -> str:
    """Upstream's sentence for a cost above its limit; "" for one below."""
    factor = cost / limit
    if factor <= 1:
        return ""
    told = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{what} exceeds budget by factor of {told} ({_ADVICE} are declared)"


def smallest(schema: Raw) -> int:
    """The fewest bytes that a value takes in JSON."""
    kind = schema.get("type")
    if kind in ("string", "array"):
        return 2
    if kind == "object":
        members = schema.get("properties") or {}
        needed = (n for n in schema.get("required") or () if "default" not in members.get(n, {}))
        return 2 + sum(len(n) + 4 + smallest(members.get(n, {})) for n in needed)
    return 1


def largest(schema: Raw) -> int:
    """How many elements a list or map may have, or bytes a string."""
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("items")
        most = (REQUEST_BYTES - 2) // (smallest(items if isinstance(items, Mapping) else {}) + 1)
        return int(schema.get("maxItems", most))
    if kind == "object":
        extra = schema.get("additionalProperties")
        most = (REQUEST_BYTES - 2) // (smallest(extra if isinstance(extra, Mapping) else {}) + 6)
        return int(schema.get("maxProperties", most))
    if kind == "string":
        if schema.get("enum"):
            return max(len(str(v)) for v in schema["enum"])
        limit = schema.get("maxLength")
        return int(limit) * 4 if limit is not None else _SHORT.get(schema.get("format") or "", REQUEST_BYTES)
    return 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of an expression, the size of its value, and the schema of that if it is known."""

    cost: float
    size: float = 1
    schema: Raw | None = None


def estimate(expr: "Expr", names: Mapping[str, Estimate]) -> Estimate:
    """``names`` are the variables in scope; their costs do not count."""
    kind = expr.WhichOneof("kind")
    if kind == "const_expr":
        return Estimate(0, len(expr.const_expr.string_value) or 1)
    if kind == "ident_expr":
        known = names.get(expr.ident_expr.name, Estimate(0))
        return Estimate(1, known.size, known.schema)
    if kind == "select_expr":
        return _select(expr, names)
    if kind == "comprehension_expr":
        return _comprehension(expr, names)
    if kind == "call_expr":
        return _call(expr, names)
    if kind == "list_expr":
        return Estimate(
            10 + sum(estimate(e, names).cost for e in expr.list_expr.elements), len(expr.list_expr.elements)
        )
    values = [estimate(e.value, names) for e in expr.struct_expr.entries]
    return Estimate(30 + sum(v.cost for v in values), len(values))


def of_value(schema: Raw) -> Estimate:
    """A variable of a schema."""
    return Estimate(0, largest(schema), schema)


def _select(expr: "Expr", names: Mapping[str, Estimate]) -> Estimate:
    from apimachinery.cel.names import unescape

    operand = estimate(expr.select_expr.operand, names)
    if expr.select_expr.test_only:
        return Estimate(operand.cost)
    schema = operand.schema or {}
    field = unescape(expr.select_expr.field)
    found = (schema.get("properties") or {}).get(field, schema.get("additionalProperties"))
    member = of_value(found) if isinstance(found, Mapping) else Estimate(0)
    return Estimate(operand.cost + 1, member.size, member.schema)


def _comprehension(expr: "Expr", names: Mapping[str, Estimate]) -> Estimate:
    loop = expr.comprehension_expr
    source, start = estimate(loop.iter_range, names), estimate(loop.accu_init, names)
    schema = source.schema or {}
    items, extra = schema.get("items"), schema.get("additionalProperties")
    key, value = Estimate(0), Estimate(0)
    if isinstance(items, Mapping):
        value = of_value(items)
        key = Estimate(0) if loop.iter_var2 else value
    elif isinstance(extra, Mapping):
        key, value = Estimate(0, REQUEST_BYTES if loop.iter_var2 == "" else 1), of_value(extra)
    inner = {**names, loop.iter_var: key, loop.accu_var: Estimate(0)}
    if loop.iter_var2:
        inner[loop.iter_var2] = value
    step = estimate(loop.loop_condition, inner).cost + estimate(loop.loop_step, inner).cost
    result = estimate(loop.result, inner)
    return Estimate(source.cost + start.cost + source.size * step + result.cost, source.size)


def _call(expr: "Expr", names: Mapping[str, Estimate]) -> Estimate:
    call = expr.call_expr
    arguments = [estimate(a, names) for a in ([call.target] if call.HasField("target") else []) + list(call.args)]
    cost, sizes = sum(a.cost for a in arguments), [a.size for a in arguments]
    first = arguments[0] if arguments else Estimate(0)
    match call.function:
        case "_[_]" | "_[?_]" | "_?._":
            schema = first.schema or {}
            found = schema.get("items", schema.get("additionalProperties"))
            inner = of_value(found) if isinstance(found, Mapping) else Estimate(0)
            return Estimate(cost + 1, inner.size, inner.schema)
        case "_&&_" | "_||_" | "_?:_" | "@not_strictly_false":
            return Estimate(cost)
        case "_+_":
            return Estimate(cost + sum(sizes) * _TRAVERSAL, sum(sizes))
        case "@in":
            return Estimate(cost + sizes[1])
        case "matches" | "find" | "findAll":
            return Estimate(cost + (sizes[0] + 1) * _TRAVERSAL * max(sizes[1] * 0.25, 1), sizes[0])
        case "contains":
            return Estimate(cost + sizes[0] * _TRAVERSAL * max(sizes[1] * _TRAVERSAL, 1))
        case name if name in _COMPARISONS:
            return Estimate(cost + 1 + min(sizes) * _TRAVERSAL)
        case "startsWith" | "endsWith":
            return Estimate(cost + sizes[1] * _TRAVERSAL)
        case "lowerAscii" | "upperAscii" | "replace" | "split" | "substring" | "trim" | "join" | "reverse":
            return Estimate(cost + sizes[0] * _TRAVERSAL, sizes[0])
    return Estimate(cost + 1, 1 if call.function == "size" else max(sizes, default=1))
