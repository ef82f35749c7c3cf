"""ValidatingAdmissionPolicy: what its expressions say no to is denied, warned about, or noted in the audit log.

Source: ``k8s.io/apiserver/pkg/admission/plugin/policy/validating``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from apimachinery import cel
from apimachinery.errors import ApiError, Cause
from apimachinery.logging import get_logger

from ...auth.authorizer import Authorizer
from ...auth.user import LOOPBACK
from ...registry.reader import Reader
from ..chain import AdmissionRequest, Plugin
from ..expressions import ConditionsFailed, conditions_hold
from ..forms import Forms
from ..refusal import forbidden
from . import params
from .scope import BUDGET, Programs, Scopes, define, environment_of
from .source import Binding, ConfigurationError, Match, Source

if TYPE_CHECKING:
    from apimachinery.cel.program import Program

Object = dict[str, Any]
_log = get_logger(__name__)
MAX_MESSAGE = 5 * 1024
MAX_ANNOTATION = 10 * 1024
Notes = dict[str, list[str]]
"""The distinct values of each audit annotation."""
_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}
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
                for denial in await self._judge(request, match, binding, scopes, told):
                    refusal = self._act(request, match, binding, denial)
                    denied = denied or refusal
            for key, values in told.items():
                request.annotations[f"{match.policy.name}/{key}"] = ", ".join(values)
        if denied is not None:
            raise denied

    async def _judge(
        self, request: AdmissionRequest, match: Match[Compiled], binding: Binding, scopes: Scopes, told: Notes
    ) -> list[Denial]:
        policy, denials = match.policy, []
        try:
            compiled = policy.compiled
            budget = cel.Budget(BUDGET)
            found = await params.collect(self._reader, self._forms, policy.raw, binding.raw, request.namespace)
            for param in found:
                scope = await scopes.make(match.kind, compiled.variables, param, budget)
                if conditions_hold(policy.raw["spec"].get("matchConditions") or (), scope, params=True):
                    denials += list(_validate(compiled, scope, budget, policy.fails_open))
                    denials += _annotate(compiled, scope, budget, told, policy.fails_open)
        except (ConfigurationError, ConditionsFailed, cel.CompilationError) as error:
            if policy.fails_open:
                _log.warning("Failed to evaluate a policy, failing open", policy=policy.name, error=str(error))
            else:
                denials.append(Denial(str(error), index=0 if isinstance(error, ConditionsFailed) else -1))
        return denials

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


def _validate(compiled: Compiled, scope: Object, budget: cel.Budget, fails_open: bool) -> Iterator[Denial]:
    for index, validation in enumerate(compiled.validations):
        expression = validation.raw["expression"]
        try:
            if validation.program.evaluate(scope, budget) is not True:
                reason = validation.raw.get("reason") or "Invalid"
                yield Denial(_message(validation, scope, budget), reason, index)
        except cel.EvaluationError as error:
            if not fails_open:
                yield Denial(f"expression '{expression}' resulted in error: {error}", "Invalid", index)


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


def _annotate(compiled: Compiled, scope: Object, budget: cel.Budget, told: Notes, fails_open: bool) -> Sequence[Denial]:
    """Add each audit annotation that has a value to ``told``; one that has none for an error denies."""
    denials = []
    for key, program in compiled.annotations.items():
        try:
            value = program.evaluate(scope, budget)
            if value is not None and not isinstance(value, str):
                why = f"valueExpression '{program.expression}' resulted in unsupported return type"
                raise cel.EvaluationError(f"{why}. Return type must be either string or null.")
            if value and value.strip() and value.strip()[:MAX_ANNOTATION] not in told.setdefault(key, []):
                told[key].append(value.strip()[:MAX_ANNOTATION])
        except cel.EvaluationError as error:
            if not fails_open:
                denials.append(Denial(str(error)))
    return denials
