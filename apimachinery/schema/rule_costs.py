"""What a rule may cost at worst, from its syntax and the limits in its schema: known before any object is.

As upstream's estimate: whoever wrote a definition that is just within its limits must be able to create it here.
Source: ``cel-go/checker/cost.go``; what functions cost is in ``rule_call_costs``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from . import rule_sizes

if TYPE_CHECKING:
    from protos.cel.expr.v1.checked_pb2 import CheckedExpr, Expr, Type

Raw = Mapping[str, Any]
Size = tuple[int, int]
"""Of a string, list or map: at least and at most."""
RULE_LIMIT = 10_000_000
DEFINITION_LIMIT = 100_000_000
MOST = 2**64 - 1
UNKNOWN: Size = (0, MOST)
_ADVICE = "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings"
_LIST, _MAP, _MESSAGE = 10, 30, 40


def exceeded(cost: float, limit: int, what: str) -> str:
    """Upstream's sentence for a cost above its limit; "" for one below."""
    factor = cost / limit
    if factor <= 1:
        return ""
    told = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{what} exceeds budget by factor of {told} ({_ADVICE} are declared)"


def scaled(size: int, factor: float) -> int:
    """A size as the cost of going through it, rounded up."""
    return min(-int(-(size * factor) // 1), MOST)


@dataclass(frozen=True, slots=True)
class Members:
    """What a list or map that the expression makes has in it; ``key`` is an index of a list."""

    key: Size
    value: Size
    is_list: bool

    def union(self, other: "Members | None") -> "Members | None":
        return other and replace(self, key=union(self.key, other.key), value=union(self.value, other.value))


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of an expression at most, and of its value the size, the members and the path from a variable, as far as
    these are known. ``literal``: what is written there, if it is written out."""

    cost: int
    type: "Type"
    size: Size | None = None
    members: Members | None = None
    path: tuple[str, ...] = ()
    literal: Any = None

    @property
    def sized(self) -> Size:
        return self.size or UNKNOWN

    @property
    def most(self) -> int:
        return self.sized[1]


def union(a: Size, b: Size) -> Size:
    return min(a[0], b[0]), max(a[1], b[1])


@dataclass(frozen=True, slots=True)
class _Local:
    path: tuple[str, ...]
    size: Size | None
    members: Members | None = None


@dataclass(slots=True)
class Estimator:
    """``root`` is the schema of ``self``."""

    tree: "CheckedExpr"
    root: Raw
    _locals: dict[str, _Local] = field(default_factory=dict)

    def estimate(self, expr: "Expr") -> Estimate:
        kind = expr.WhichOneof("kind") or ""
        made: Estimate = getattr(self, f"_{kind.removesuffix('_expr')}")(expr)
        return made if made.size else replace(made, size=self._size(made, expr))

    def by_path(self, path: Sequence[str]) -> Size | None:
        """Of what is reached from a variable: all are of the root's type."""
        most = rule_sizes.at(self.root, path[1:]) if path else None
        return None if most is None else (0, most)

    def _size(self, made: Estimate, expr: "Expr") -> Size | None:
        known = self.by_path(made.path) or ((1, 1) if _is_scalar(made.type) else None)
        local = self._locals.get(expr.ident_expr.name) if expr.HasField("ident_expr") else None
        return known or (local.size if local else None)

    def _made(self, expr: "Expr", cost: int, **known: Any) -> Estimate:
        return Estimate(min(cost, MOST), self.tree.type_map[expr.id], **known)

    def _const(self, expr: "Expr") -> Estimate:
        constant = expr.const_expr
        value = getattr(constant, constant.WhichOneof("kind") or "null_value")
        size = len(value) if isinstance(value, (str, bytes)) else 1
        return self._made(expr, 0, size=(size, size), literal=value)

    def _ident(self, expr: "Expr") -> Estimate:
        name = expr.ident_expr.name
        local = self._locals.get(name)
        if local is None:
            return self._made(expr, 1, path=(name,))
        return self._made(expr, 1, path=local.path, members=local.members)

    def _select(self, expr: "Expr") -> Estimate:
        operand = self.estimate(expr.select_expr.operand)
        if expr.select_expr.test_only:
            return self._made(expr, operand.cost)
        counted = operand.type.WhichOneof("kind") in ("map_type", "message_type", "type_param")
        return self._made(expr, operand.cost + counted, path=(*operand.path, expr.select_expr.field))

    def _list(self, expr: "Expr") -> Estimate:
        elements = [self.estimate(e) for e in expr.list_expr.elements]
        members = Members((1, 1), _all([e.sized for e in elements]), True)
        count = len(elements)
        return self._made(expr, _LIST + _sum(elements), size=(count, count), members=members)

    def _struct(self, expr: "Expr") -> Estimate:
        entries = expr.struct_expr.entries
        keys = [self.estimate(e.map_key) for e in entries if e.HasField("map_key")]
        values = [self.estimate(e.value) for e in entries]
        if expr.struct_expr.message_name:
            return self._made(expr, _MESSAGE + _sum(values))
        members = Members(_all([k.sized for k in keys]), _all([v.sized for v in values]), False)
        return self._made(expr, _MAP + _sum(keys) + _sum(values), size=(len(entries), len(entries)), members=members)

    def _comprehension(self, expr: "Expr") -> Estimate:
        loop = expr.comprehension_expr
        source, start = self.estimate(loop.iter_range), self.estimate(loop.accu_init)
        outer, self._locals = self._locals, {**self._locals, loop.accu_var: _local(start)}
        if _is_bind(expr):
            result = self.estimate(loop.result)
            self._locals = outer
            return self._made(expr, source.cost + start.cost + result.cost, size=result.size, members=result.members)
        self._enter(expr, source)
        condition, step = self.estimate(loop.loop_condition), self.estimate(loop.loop_step)
        self._locals = {**outer, loop.accu_var: _local(start)}
        result = self.estimate(loop.result)
        self._locals = outer
        cost = source.cost + start.cost + result.cost + source.most * (condition.cost + step.cost)
        if loop.accu_init.WhichOneof("kind") in ("list_expr", "struct_expr"):
            return self._made(expr, cost, size=source.sized, members=step.members)
        return self._made(expr, cost, size=start.size if loop.accu_init.HasField("const_expr") else None)

    def _enter(self, expr: "Expr", source: Estimate) -> None:
        """The variables of a loop over ``source``."""
        loop, inside = expr.comprehension_expr, source.members
        is_list = inside.is_list if inside else source.type.HasField("list_type")
        key = _Local((*source.path, "@indices" if is_list else "@keys"), inside.key if inside else None)
        value = _Local((*source.path, "@items" if is_list else "@values"), inside.value if inside else None)
        self._locals[loop.iter_var] = value if is_list and not loop.iter_var2 else key
        if loop.iter_var2:
            self._locals[loop.iter_var2] = value

    def _call(self, expr: "Expr") -> Estimate:
        from .rule_call_costs import Call

        call = expr.call_expr
        arguments = [self.estimate(a) for a in call.args]
        target = self.estimate(call.target) if call.HasField("target") else None
        result = self.tree.type_map[expr.id]
        if call.function == "dyn":
            return self._made(expr, 1 + arguments[0].cost, size=arguments[0].size, members=arguments[0].members)
        overloads = self.tree.reference_map[expr.id].overload_id
        return Call(self, call.function, tuple(overloads), target, arguments, result).estimate()


def _local(start: Estimate) -> _Local:
    return _Local(start.path, start.size, start.members)


def _is_bind(expr: "Expr") -> bool:
    """Whether a comprehension only names a value: it loops over nothing."""
    loop = expr.comprehension_expr
    empty = loop.iter_range.HasField("list_expr") and not loop.iter_range.list_expr.elements
    return empty and loop.loop_condition.HasField("const_expr") and loop.accu_var not in ("@result", "__result__")


def _is_scalar(found: "Type") -> bool:
    from protos.cel.expr.v1.checked_pb2 import Type

    if found.abstract_type.name == "optional_type":
        return _is_scalar(found.abstract_type.parameter_types[0])
    if found.well_known in (Type.TIMESTAMP, Type.DURATION):
        return True
    return found.primitive in (Type.BOOL, Type.INT64, Type.UINT64, Type.DOUBLE)


def _sum(parts: Sequence[Estimate]) -> int:
    return sum(p.cost for p in parts)


def _all(sizes: Sequence[Size]) -> Size:
    return (min(s[0] for s in sizes), max(s[1] for s in sizes)) if sizes else (0, 0)
