"""From an expression's text to a program: check, then turn the tree into Python closures."""

from collections.abc import Mapping
from typing import Any

from . import checker, literals
from .closures import Compiler
from .errors import DEFAULT_COST, Budget, CompilationError, EvaluationError
from .frames import Closure
from .messages import Messages


class Program:
    """A checked expression. Its ``result`` is the CEL type of its value, ``variables`` are those that it names."""

    __slots__ = ("_run", "_slots", "_weight", "expression", "result", "variables")

    def __init__(self, expression: str, checked: checker.Checked, compiler: Compiler, run: Closure) -> None:
        self.expression, self._run = expression, run
        self.result, self.variables = checked.result, frozenset(compiler.variables)
        self._slots, self._weight = compiler.slots, compiler.weight

    def evaluate(self, values: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """The expression's value. Raises EvaluationError: BudgetExceeded when ``budget`` (None: one call's) is spent.

        ``values`` are neither changed nor copied: the result may share parts of them.
        """
        budget = budget or Budget()
        outer, before = budget.floor, budget.left
        budget.floor = max(0, before - DEFAULT_COST)
        try:
            budget.charge(self._weight)
            return self._run([budget, values, *([None] * self._slots)])
        except RecursionError as error:
            raise EvaluationError("expression is nested too deeply") from error
        finally:
            budget.floor = max(0, outer - before + budget.left)  # what a variable costs is none of its user's limit


def build(
    expression: str,
    variables: Mapping[str, str],
    result: str,
    messages: Messages | None,
    *,
    aliases: Mapping[str, str] | None = None,
) -> Program:
    """``aliases`` are the names that values get of types which the checker knows by others. Raises CompilationError."""
    checked = checker.check(expression, variables, messages)
    if result and checked.result not in (result, "dyn") and not checker.assignable(checked.result, result):
        raise CompilationError(f"must evaluate to {result} but got {checked.result}")
    literals.check(expression, checked.tree)
    compiler = Compiler(checked, aliases or {})
    try:
        return Program(expression, checked, compiler, compiler.compile(checked.tree.expr))
    except RecursionError as error:
        raise CompilationError("expression is nested too deeply") from error
