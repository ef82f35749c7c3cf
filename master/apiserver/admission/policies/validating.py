"""ValidatingAdmissionPolicy: what its expressions say no to is denied, warned about, or noted in the audit log.

Source: ``k8s.io/apiserver/pkg/admission/plugin/policy/validating``.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from apimachinery import cel
from apimachinery.cel.spending import spend
from apimachinery.errors import ApiError, Cause
from apimachinery.logging import get_logger

from ...auth.authorizer import Authorizer
from ...auth.user import LOOPBACK
from ...registry.reader import Reader
from .. import metrics
from ..chain import AdmissionRequest, Plugin
from ..expressions import ConditionsFailed, conditions_hold
from ..forms import Forms
from ..refusal import forbidden
from . import params
from .scope import Programs, Scopes, complete, define, environment_of
from .source import Binding, ConfigurationError, Match, Policy, Source

if TYPE_CHECKING:
    from apimachinery.cel.program import Program

Object = dict[str, Any]
_log = get_logger(__name__)
MAX_MESSAGE = 5 * 1024
MAX_ANNOTATION = 10 * 1024
Notes = dict[str, dict[str, None]]
"""The distinct values of each audit annotation, in order."""
_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}
_SPENT = "validation failed due to running out of cost budget, no further validation rules will be run"
_FAILURE = "validation.policy.admission.k8s.io/validation_failure"


@dataclass(frozen=True, slots=True)
class Validation:
    raw: Object
    program: "Program"
    message: "Program | None"


@dataclass(frozen=True, slots=True)
class Compiled:
    """``conditions`` have their programs by name; ``annotations`` by key."""

    variables: Programs
    validations: tuple[Validation, ...]
    annotations: Mapping[str, "Program"]


def compile_policy(policy: Object) -> Compiled:
    """Raises CompilationError."""
    spec = policy["spec"]
    environment = environment_of(spec)
    variables = define(environment, spec.get("variables") or ())
    validations = tuple(
        Validation(
            v,
            environment.compile(v["expression"], "bool"),
            environment.compile(v["messageExpression"], "string", authorizer=False)
            if v.get("messageExpression")
            else None,
        )
        for v in spec.get("validations") or ()
    )
    annotations = {a["key"]: environment.compile(a["valueExpression"]) for a in spec.get("auditAnnotations") or ()}
    return Compiled(variables, validations, annotations)


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a policy says no; ``index`` of the validation, or -1 for what is wrong with the policy itself."""

    message: str
    reason: str = "Invalid"
    index: int = -1


class ValidatingPolicies(Plugin):
    name = "ValidatingAdmissionPolicy"

    def __init__(self, reader: Reader, forms: Forms, authorizer: Authorizer) -> None:
        self._reader, self._forms, self._authorizer = reader, forms, authorizer
        self._source = Source(
            reader, forms, "validatingadmissionpolicies", "validatingadmissionpolicybindings", compile_policy
        )

    def handles(self, request: AdmissionRequest) -> bool:
        return request.user is not LOOPBACK and bool(self._source.candidates(request))

    async def validate(self, request: AdmissionRequest) -> None:
        scopes = Scopes(self._reader, self._forms, self._authorizer, request)
        denied: ApiError | None = None
        try:
            matches = await self._source.matches(request)
        except ConfigurationError as error:
            raise forbidden(request, str(error)) from error
        for match in matches:
            told: Notes = {}
            for binding in match.bindings:
                began = time.monotonic()
                verdicts = await self._judge(request, match, binding, scopes)
                _count(match.policy.name, binding, verdicts, time.monotonic() - began)
                for verdict in verdicts:
                    for denial in verdict.denials:
                        refusal = self._act(request, match, binding, denial)
                        denied = denied or refusal
                    for key, note in verdict.notes:
                        told.setdefault(key, {})[note] = None
            for key, notes in told.items():
                request.annotations[f"{match.policy.name}/{key}"] = ", ".join(notes)
        if denied is not None:
            raise denied

    async def _judge(
        self, request: AdmissionRequest, match: Match[Compiled], binding: Binding, scopes: Scopes
    ) -> list["Verdict"]:
        """One for each parameter."""
        policy = match.policy
        try:
            judge = partial(_evaluate, policy, policy.compiled, await scopes.common(match.kind))
            found = await params.collect(self._reader, self._forms, policy.raw, binding.raw, request.namespace)
            return [await spend(partial(judge, param), cel.OBJECT_BUDGET) for param in found]
        except (ConfigurationError, ConditionsFailed, cel.CompilationError) as error:
            if policy.fails_open:
                _log.warning("Failed to evaluate a policy, failing open", policy=policy.name, error=str(error))
                return []
            return [Verdict([Denial(str(error), index=0 if isinstance(error, ConditionsFailed) else -1)])]

    @staticmethod
    def _act(request: AdmissionRequest, match: Match[Compiled], binding: Binding, denial: Denial) -> ApiError | None:
        """Do what the binding wants to be done; the refusal, if that is one."""
        actions = binding.raw["spec"].get("validationActions") or ()
        policy, refusal = match.policy.name, None
        if "Warn" in actions and denial.index >= 0:
            about = f"Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding.name}'"
            request.warnings.append(f"{about}: {denial.message}")
        if "Audit" in actions and denial.index >= 0:
            failure = {
                "message": denial.message,
                "policy": policy,
                "binding": binding.name,
                "expressionIndex": denial.index,
                "validationActions": list(actions),
            }
            request.annotations[_FAILURE] = orjson.dumps([failure]).decode()
        if "Deny" in actions or denial.index < 0:
            about = f"ValidatingAdmissionPolicy '{policy}' with binding '{binding.name}' denied request"
            message = f"{about}: {denial.message}"
            refusal = forbidden(request, message, [Cause("", message)])
            refusal.status_reason, refusal.status_code = denial.reason, _CODES.get(denial.reason, 422)
        return refusal


def _count(policy: str, binding: Binding, verdicts: list["Verdict"], seconds: float) -> None:
    actions = [str(a).lower() for a in binding.raw["spec"].get("validationActions") or ()]
    for verdict in verdicts:
        refused = [a for denial in verdict.denials for a in (actions if denial.index >= 0 else ("deny",))]
        for action in refused or ("allow",):
            metrics.policy_checked(policy, binding.name, action, seconds)


@dataclass(slots=True)
class Verdict:
    """``notes`` are audit annotations: pairs of key and value."""

    denials: list[Denial] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def _evaluate(
    policy: Policy[Compiled], compiled: Compiled, common: Object, param: Object | None, budget: cel.Budget
) -> Verdict:
    """Raises ConditionsFailed."""
    scope, verdict = complete(common, param, compiled.variables, budget), Verdict()
    if not conditions_hold(policy.raw["spec"].get("matchConditions") or (), scope, params=True, budget=budget):
        return verdict
    for index, validation in enumerate(compiled.validations):
        try:
            if validation.program.evaluate(scope, budget) is not True:
                reason = validation.raw.get("reason") or "Invalid"
                verdict.denials.append(Denial(_message(validation, scope, budget), reason, index))
        except cel.EvaluationError as error:
            why = _SPENT if budget.left < 0 else error
            told = f"expression '{validation.raw['expression']}' resulted in error: {why}"
            verdict.denials += [] if policy.fails_open else [Denial(told, "Invalid", index)]
    for key, program in compiled.annotations.items():
        try:
            value = _note(program, scope, budget)
            verdict.notes += [(key, value)] if value else []
        except cel.EvaluationError as error:
            verdict.denials += [] if policy.fails_open else [Denial(str(error))]
    return verdict


def _message(validation: Validation, scope: Object, budget: cel.Budget) -> str:
    """The evaluated message if there is a usable one, else the written one, else the expression."""
    message = ""
    if validation.message is not None:
        try:
            told = validation.message.evaluate(scope, budget)
            message = told.strip() if isinstance(told, str) else ""
        except cel.EvaluationError as error:
            _log.info("Error while evaluating messageExpression", error=str(error))
    if not message or len(message) > MAX_MESSAGE or "\n" in message:
        message = str(validation.raw.get("message") or "").strip()
    return message or f"failed expression: {validation.raw['expression'].strip()}"


def _note(program: "Program", scope: Object, budget: cel.Budget) -> str:
    """The value of an audit annotation, "" for none. Raises EvaluationError."""
    value = program.evaluate(scope, budget)
    if value is not None and not isinstance(value, str):
        why = f"valueExpression '{program.expression}' resulted in unsupported return type"
        raise cel.EvaluationError(f"{why}. Return type must be either string or null.")
    return (value or "").strip()[:MAX_ANNOTATION]
