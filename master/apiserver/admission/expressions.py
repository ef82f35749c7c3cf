"""CEL about admission requests: the variables that expressions may name, and match conditions.

Source: ``k8s.io/apiserver/pkg/admission/plugin/cel``, ``.../webhook/matchconditions``; KEP-3716.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from apimachinery import cel
from apimachinery.scheme import Kind

from ..auth.authorizer import Authorizer, RequestAttributes
from ..auth.user import AUTHENTICATED_GROUP, User
from .chain import AdmissionRequest
from .forms import Forms
from .policies.environment import Environment
from .requests import request_json

if TYPE_CHECKING:
    from apimachinery.cel.library.authorizer import Question
    from apimachinery.cel.program import Program

Object = dict[str, Any]
MATCH_BUDGET = 2_500_000
"""What the match conditions of a webhook may cost: RuntimeCELCostBudgetMatchConditions."""


class ConditionsFailed(Exception):
    """No condition says no, but at least one has no value."""


@lru_cache(maxsize=1024)
def compile_condition(expression: str, *, params: bool = False) -> "Program":
    """Raises CompilationError."""
    return Environment(params="dyn" if params else "").compile(expression, "bool")


async def values(request: AdmissionRequest, kind: Kind, forms: Forms, authorizer: Authorizer) -> Object:
    """The variables for a request whose object is wanted as ``kind``."""
    from apimachinery.cel.library import authorizer as library

    def ask(question: "Question") -> tuple[bool, str]:
        decision = authorizer.authorize(_attributes(request.user, question))
        return decision.allowed, decision.reason

    about = library.Question(
        group=kind.group,
        resource=kind.resource,
        subresource=request.subresource,
        namespace=request.namespace,
        name=request.name,
    )
    return {
        "object": await forms.shown(request, request.object, kind),
        "oldObject": await forms.shown(request, request.old, kind),
        "request": request_json(request, kind),
        "authorizer": library.Authorizer(ask),
        "authorizer.requestResource": library.ResourceCheck(ask, about),
    }


def _attributes(user: User, question: "Question") -> RequestAttributes:
    if question.service_account is not None:
        namespace, name = question.service_account
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED_GROUP)
        user = User(f"system:serviceaccount:{namespace}:{name}", groups=groups)
    if question.path:
        return RequestAttributes(user, question.verb, path=question.path)
    return RequestAttributes(
        user,
        question.verb,
        question.group,
        "*",
        question.resource,
        question.subresource,
        question.namespace,
        question.name,
    )


def conditions_hold(
    conditions: Sequence[Object], variables: Object, *, params: bool = False, budget: cel.Budget
) -> bool:
    """Whether every condition is true. One that is false decides, whatever the others are; else raises
    ConditionsFailed if one has no value."""
    failures = []
    for condition in conditions:
        expression = condition["expression"]
        try:
            if not compile_condition(expression, params=params).evaluate(variables, budget):
                return False
        except (cel.EvaluationError, cel.CompilationError) as error:
            failures.append(f"expression '{expression}' resulted in error: {error}")
    if failures:
        raise ConditionsFailed(failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]")
    return True
