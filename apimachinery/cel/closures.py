"""A checked syntax tree as Python closures.

Each node becomes a function of a frame: ``[budget, variables, slots of comprehensions...]``. Errors are exceptions,
except where CEL lets the other side of ``&&`` and ``||`` decide. Over 300 lines: a method for each kind of node, all of
which share the compiler's scope.
"""

from collections.abc import Mapping
from typing import Any

from protos.cel.expr.v1.checked_pb2 import Expr

from . import costs, members, names
from .checker import Checked
from .coercions import COERCIONS
from .errors import BudgetExceeded, EvaluationError
from .frames import TYPES, Closure, Frame, accumulated, always, dispatch, unpaid
from .operators import OPERATORS, among
from .values import Optional, Struct, UInt, no_such_overload


class Compiler:
    """``variables`` are the names that the expression takes from outside, ``weight`` what is sure to be spent."""

    def __init__(self, checked: Checked, aliases: Mapping[str, str]) -> None:
        self._aliases = aliases
        self._references, self._types = checked.tree.reference_map, checked.tree.type_map
        self._scope: dict[str, int] = {}
        self._grown: set[int] = set()
        self.slots = self.weight = 0
        self.variables: set[str] = set()

    def compile(self, expr: Expr) -> Closure:
        kind = expr.WhichOneof("kind")
        if kind is None:
            raise ValueError("a node of the syntax tree is empty")
        made: Closure = getattr(self, f"_{kind.removesuffix('_expr')}")(expr)
        if kind not in ("select_expr", "ident_expr", "call_expr"):
            return made
        return self._coerced(expr, made)

    def _coerced(self, expr: Expr, made: Closure) -> Closure:
        """JSON has neither times nor bytes: a value that the schema says is one is read as one."""
        known = self._types.get(expr.id)
        coerce = COERCIONS.get((known.well_known, known.primitive)) if known is not None else None
        if coerce is None or expr.select_expr.test_only:
            return made
        if expr.HasField("call_expr") and expr.call_expr.function != "_[_]":
            return made
        return lambda f: coerce(made(f))

    def _const(self, expr: Expr) -> Closure:
        constant = expr.const_expr
        kind = constant.WhichOneof("kind")
        value = None if kind is None or kind == "null_value" else getattr(constant, kind)
        if kind == "uint64_value":
            value = UInt(constant.uint64_value)
        return lambda f: value

    def _ident(self, expr: Expr) -> Closure:
        name = expr.ident_expr.name
        slot = self._scope.get(name)
        if slot is not None:
            self.weight += 1
            return accumulated(slot) if name.startswith("@") else lambda f: f[slot]
        return self._variable(self._references[expr.id].name or name)

    def _variable(self, name: str) -> Closure:
        if name in TYPES:
            found = TYPES[name]
            return lambda f: found
        self.variables.add(name)
        self.weight += 1

        def read(f: Frame) -> Any:
            try:
                return f[1][name]
            except KeyError:
                raise EvaluationError(f"no such attribute(s): {name}") from None

        return read

    def _select(self, expr: Expr) -> Closure:
        if expr.id in self._references and self._references[expr.id].name in TYPES:
            return self._variable(self._references[expr.id].name)
        operand, field = self.compile(expr.select_expr.operand), expr.select_expr.field
        self.weight += 0 if expr.select_expr.test_only else _step(expr.select_expr.operand)
        spellings = names.spellings(field)
        if expr.select_expr.test_only:
            return lambda f: members.has(operand(f), spellings)

        def select(f: Frame) -> Any:
            value = operand(f)
            try:
                return value[field]
            except (KeyError, TypeError):
                return members.select_otherwise(value, spellings)

        return select

    def _list(self, expr: Expr) -> Closure:
        elements = [self.compile(e) for e in expr.list_expr.elements]
        self.weight += 0 if costs.is_constant(expr) else costs.LIST
        optional = frozenset(expr.list_expr.optional_indices)
        if not optional:
            return lambda f: [e(f) for e in elements]

        def build(f: Frame) -> list[Any]:
            made = [(i in optional, e(f)) for i, e in enumerate(elements)]
            return [v.content if maybe else v for maybe, v in made if not maybe or v.present]

        return build

    def _struct(self, expr: Expr) -> Closure:
        struct = expr.struct_expr
        entries = [
            (self.compile(e.map_key) if e.HasField("map_key") else always(names.unescape(e.field_key)),
             self.compile(e.value), e.optional_entry)
            for e in struct.entries
        ]  # fmt: skip
        message = self._aliases.get(struct.message_name, struct.message_name)
        self.weight += costs.MESSAGE if message else 0 if costs.is_constant(expr) else costs.MAP

        def build(f: Frame) -> dict[Any, Any]:
            made: dict[Any, Any] = {}
            for key, value, maybe in entries:
                k, v = key(f), value(f)
                if not maybe:
                    made[members.key(k)] = v
                elif v.present:
                    made[members.key(k)] = v.content
            return Struct(message, made) if message else made

        return build

    def _call(self, expr: Expr) -> Closure:
        call = expr.call_expr
        special = getattr(self, _SPECIAL.get(call.function, ""), None)
        if special is not None:
            made: Closure = special(expr)
            return made
        target = [call.target] if call.HasField("target") else []
        arguments = [self.compile(a) for a in (*target, *call.args)]
        operator = OPERATORS.get(call.function)
        if operator is None:
            if costs.is_constant(expr):
                return unpaid(dispatch(call.function, bool(target), arguments))
            return dispatch(call.function, bool(target), arguments)
        if call.function == "@in" and costs.is_constant(call.args[1]):
            operator = among
        elif call.function == "_[_]":
            self.weight += _step(call.args[0]) - costs.is_attribute(call.args[1])
        elif call.function not in _CHARGING:
            self.weight += 1
        if len(arguments) == 2:
            left, right = arguments
            return lambda f: operator(f[0], left(f), right(f))
        return lambda f: operator(f[0], *[a(f) for a in arguments])

    def _and(self, expr: Expr) -> Closure:
        return self._logical(expr, False)

    def _or(self, expr: Expr) -> Closure:
        return self._logical(expr, True)

    def _logical(self, expr: Expr, decisive: bool) -> Closure:
        """One side that is ``decisive`` decides, even if the other is an error."""
        left, right = self.compile(expr.call_expr.args[0]), self._apart(expr.call_expr.args[1])
        name = expr.call_expr.function

        def run(f: Frame) -> Any:
            try:
                a = left(f)
            except BudgetExceeded:
                raise
            except EvaluationError:
                if right(f) is decisive:
                    return decisive
                raise
            if a is decisive:
                return decisive
            b = right(f)
            if b is decisive:
                return decisive
            if a is not b or type(a) is not bool:
                raise no_such_overload(name, a, b)
            return not decisive

        return run

    def _conditional(self, expr: Expr) -> Closure:
        asked, *choices = expr.call_expr.args
        condition = self.compile(asked)
        yes, no = (self._apart(c, free=costs.is_attribute(c)) for c in choices)

        def run(f: Frame) -> Any:
            chosen = condition(f)
            if chosen is True:
                return yes(f)
            if chosen is False:
                return no(f)
            raise no_such_overload("_?_:_", chosen)

        return run

    def _not_false(self, expr: Expr) -> Closure:
        inner = self.compile(expr.call_expr.args[0])
        self.weight += 1

        def run(f: Frame) -> bool:
            try:
                return inner(f) is not False
            except BudgetExceeded:
                raise
            except EvaluationError:
                return True

        return run

    def _optional_select(self, expr: Expr) -> Closure:
        operand, field = (self.compile(a) for a in expr.call_expr.args)
        self.weight += _step(expr.call_expr.args[0]) - costs.is_attribute(expr.call_expr.args[1])
        literal = expr.call_expr.args[1].const_expr.string_value
        spellings = names.spellings(literal) if expr.call_expr.function == "_?._" else None
        return lambda f: members.optional(operand(f), spellings or (field(f),))

    def _or_value(self, expr: Expr) -> Closure:
        """``or`` and ``orValue`` look at their argument only when they need it."""
        call = expr.call_expr
        first, other, chain = self.compile(call.target), self._apart(call.args[0]), call.function == "or"

        def run(f: Frame) -> Any:
            found = first(f)
            if not isinstance(found, Optional):
                raise no_such_overload(call.function, found)
            if not found.present:
                return other(f)
            return found if chain else found.content

        return run

    def _add(self, expr: Expr) -> Closure:
        """``_+_``; a list that a comprehension is making grows in place."""
        left, right = expr.call_expr.args
        slot = self._scope.get(left.ident_expr.name, -1) if left.HasField("ident_expr") else -1
        add = OPERATORS["_+_"]
        first, second = self.compile(left), self.compile(right)
        if slot not in self._grown:
            return lambda f: add(f[0], first(f), second(f))

        self.weight += 1

        def grow(f: Frame) -> Any:
            made = first(f)
            made.extend(second(f))
            return made

        return grow

    def _comprehension(self, expr: Expr) -> Closure:
        loop = expr.comprehension_expr
        source, start = self.compile(loop.iter_range), self.compile(loop.accu_init)
        first, accu = self._slot(), self._slot()
        second = self._slot() if loop.iter_var2 else 0
        if loop.accu_init.HasField("list_expr") and not loop.accu_init.list_expr.elements:
            self._grown.add(accu)
        outer = self._scope
        bound = {loop.iter_var2: second} if second else {}
        self._scope = outer | {loop.accu_var: accu, loop.iter_var: first} | bound
        before = self.weight
        condition, checked = self.compile(loop.loop_condition), self.weight
        step, stepped = self.compile(loop.loop_step), self.weight
        cost, self.weight, unspent = stepped - before, before, checked - stepped
        self._scope = outer | {loop.accu_var: accu}
        result = self.compile(loop.result)
        self._scope = outer

        def run(f: Frame) -> Any:
            budget = f[0]
            f[accu] = start(f)
            for item in members.items(source(f), bool(second)):
                budget.charge(cost)
                if second:
                    f[first], f[second] = item
                else:
                    f[first] = item
                if condition(f) is False:
                    budget.charge(unspent)
                    break
                try:
                    f[accu] = step(f)
                except BudgetExceeded:
                    raise
                except EvaluationError as error:
                    f[accu] = error
            return result(f)

        return run

    def _apart(self, expr: Expr, *, free: int = 0) -> Closure:
        """What may be passed over: its cost, but for what is ``free``, is charged when it is evaluated."""
        before, self.weight = self.weight, 0
        made = self.compile(expr)
        cost, self.weight = self.weight - free, before

        def run(f: Frame) -> Any:
            f[0].charge(cost)
            return made(f)

        return run if cost > 0 else made

    def _slot(self) -> int:
        self.slots += 1
        return self.slots + 1


def _step(operand: Expr) -> int:
    """What it costs to reach into an operand."""
    return 1 if costs.is_attribute(operand) else 2


_CHARGING = frozenset(("_+_", "@in", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"))
"""Operators whose cost depends on their operands: they charge it themselves."""
_SPECIAL = {
    "_&&_": "_and",
    "_||_": "_or",
    "_?_:_": "_conditional",
    "@not_strictly_false": "_not_false",
    "_?._": "_optional_select",
    "_[?_]": "_optional_select",
    "or": "_or_value",
    "orValue": "_or_value",
    "_+_": "_add",
}
