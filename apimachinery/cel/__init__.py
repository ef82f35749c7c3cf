"""CEL, the expression language of policies, match conditions and validation rules of custom resources.

``cel-expr-python`` (the C++ implementation) parses and checks types, so its errors are the ones that users of upstream
know. The checked tree is evaluated here: values stay the JSON-shaped objects that they are, Kubernetes' own types are
Python objects, and every step is charged to a budget, which that library cannot do.

Nothing but names is loaded until the first expression is compiled.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .errors import DEFAULT_COST, OBJECT_BUDGET, Budget, BudgetExceeded, CompilationError, EvaluationError

if TYPE_CHECKING:
    from .messages import Messages
    from .program import Program

CelType = str
"""As CEL writes it: ``dyn``, ``int``, ``list<string>``, ``map<string, dyn>``, or the name of a message."""

__all__ = [
    "DEFAULT_COST",
    "OBJECT_BUDGET",
    "Budget",
    "BudgetExceeded",
    "CelType",
    "CompilationError",
    "EvaluationError",
    "compile",
]


def compile(
    expression: str,
    variables: Mapping[str, CelType],
    *,
    result: CelType = "",
    messages: "Messages | None" = None,
) -> "Program":
    """An expression that may name ``variables``; ``messages`` has the object types among theirs.

    Raises CompilationError: a syntax error, an unknown name, types that do not fit, or another type than ``result``.
    """
    from .program import build

    return build(expression, variables, result, messages)
