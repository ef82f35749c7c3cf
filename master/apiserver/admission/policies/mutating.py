"""MutatingAdmissionPolicy: expressions that make an apply configuration or a JSON patch, which changes the object.

Source: KEP-3962, ``k8s.io/apiserver/pkg/admission/plugin/policy/mutating``.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from apimachinery import cel, patch
from apimachinery.cel.spending import spend
from apimachinery.errors import ApiError, Cause
from apimachinery.logging import get_logger
from apimachinery.patch import structured
from apimachinery.scheme import Kind

from ...auth.authorizer import Authorizer
from ...auth.user import LOOPBACK
from ...registry.reader import Reader
from ..chain import AdmissionRequest, Plugin
from ..expressions import ConditionsFailed, conditions_hold
from ..forms import Forms
from ..refusal import forbidden
from ..reinvocation import Reinvocations
from . import params
from .scope import Programs, Scopes, complete, define, environment_of
from .source import Binding, ConfigurationError, Match, Source

if TYPE_CHECKING:
    from apimachinery.cel.program import Program

Object = dict[str, Any]
_log = get_logger(__name__)
RESULTS = {"ApplyConfiguration": "Object", "JSONPatch": "list<JSONPatch>"}
FIELDS = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}


class MutationFailed(Exception):
    """An expression has made nothing that the object can take."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """``mutations`` are pairs of a patch type and a program."""

    variables: Programs
    mutations: tuple[tuple[str, "Program"], ...]


def compile_policy(policy: Object) -> Compiled:
    """Raises CompilationError."""
    spec = policy["spec"]
    environment = environment_of(spec, patches=True)
    variables = define(environment, spec.get("variables") or ())
    mutations = tuple(
        (m["patchType"], environment.compile(m[FIELDS[m["patchType"]]]["expression"], RESULTS[m["patchType"]]))
        for m in spec.get("mutations") or ()
    )
    return Compiled(variables, mutations)


class MutatingPolicies(Plugin):
    name = "MutatingAdmissionPolicy"

    def __init__(self, reader: Reader, forms: Forms, authorizer: Authorizer) -> None:
        self._reader, self._forms, self._authorizer = reader, forms, authorizer
        self._source = Source(
            reader, forms, "mutatingadmissionpolicies", "mutatingadmissionpolicybindings", compile_policy
        )

    def handles(self, request: AdmissionRequest) -> bool:
        return request.user is not LOOPBACK and request.object is not None and bool(self._source.candidates(request))

    async def mutate(self, request: AdmissionRequest) -> None:
        again = request.kept.setdefault(self.name, Reinvocations())
        if request.second_round and request.object != again.output:
            again.all_of_before()
        scopes = Scopes(self._reader, self._forms, self._authorizer, request)
        try:
            matches = await self._source.matches(request)
        except ConfigurationError as error:
            raise forbidden(request, str(error)) from error
        failures: list[str] = []
        for match in matches:
            for binding in match.bindings:
                try:
                    await self._invoke(request, match, binding, scopes, again)
                except (ConfigurationError, ConditionsFailed, MutationFailed, cel.CompilationError) as error:
                    name = match.policy.name
                    if match.policy.fails_open:
                        _log.warning("Failed to evaluate a policy, failing open", policy=name, error=str(error))
                    else:
                        failures.append(f"policy '{name}' with binding '{binding.name}' denied request: {error}")
        again.output = patch.copy(request.object)
        if failures:
            refusal = forbidden(request, failures[0], [Cause("", f) for f in failures])
            refusal.message, refusal.status_reason = failures[0], "Invalid"
            raise refusal

    async def _invoke(
        self, request: AdmissionRequest, match: Match[Compiled], binding: Binding, scopes: Scopes, again: Reinvocations
    ) -> None:
        """One policy with one binding, for each of its parameters."""
        policy, compiled = match.policy, match.policy.compiled
        for param in await params.collect(self._reader, self._forms, policy.raw, binding.raw, request.namespace):
            metadata = (param or {}).get("metadata") or {}
            key = (policy.name, binding.name, metadata.get("namespace"), metadata.get("name"))
            if request.second_round and key not in again.wanted:
                continue
            common = await scopes.common(match.kind)
            if not await spend(partial(_concerns, policy.raw, compiled, common, param), cel.OBJECT_BUDGET):
                continue
            for form, program in compiled.mutations:
                common = await scopes.common(match.kind)
                made = await spend(partial(_evaluate, program, compiled, common, param), cel.OBJECT_BUDGET)
                if await self._change(request, match.kind, form, made):
                    again.all_of_before()
                    scopes.object_changed()
            if policy.raw["spec"].get("reinvocationPolicy") == "IfNeeded":
                again.before.add(key)

    async def _change(self, request: AdmissionRequest, kind: Kind, form: str, made: Any) -> bool:
        """Whether that has changed the object. Raises MutationFailed."""
        before = await self._forms.shown(request, request.object, kind)
        assert before is not None, "only requests with an object are mutated"  # noqa: S101 - see handles
        try:
            after = self._apply(kind, before, made) if form == "ApplyConfiguration" else _json_patch(before, made)
            if after == before:
                return False
            await self._forms.take(request, kind, after)
        except ApiError as error:
            told = error.causes[0].message if error.causes else str(error)
            raise MutationFailed(f"JSONPath: {told.partition(' in {')[0]}" if form == "JSONPatch" else told) from error
        return True

    def _apply(self, kind: Kind, before: Object, configuration: Object) -> Object:
        """Merge as server-side apply does. Raises MutationFailed."""
        schema = self._forms.schema(kind)
        applied = {**configuration, "apiVersion": kind.api_version, "kind": kind.kind}
        unknown = self._forms.unknown(kind, applied)
        if unknown:
            told = f"failed to convert patch object to typed object: .{unknown}: field not declared in schema"
            raise MutationFailed(f"error applying patch: {told}")
        atomic = list(_atomics(applied, schema, ""))
        if atomic:
            told = f"may not mutate atomic arrays, maps or structs: {', '.join(atomic)}"
            raise MutationFailed(f"error applying patch: invalid ApplyConfiguration: {told}")
        merged: Object = patch.copy(structured.merge(before, applied, schema))
        return merged


def _atomics(value: Any, schema: structured.Schema, path: str) -> list[str]:
    """The paths of what would be replaced as a whole."""
    if schema is None or not isinstance(value, dict | list):
        return []
    own = [path] if structured.kind_of(value, schema) == "atomic" else []
    if isinstance(value, dict):
        return own + [p for k, v in value.items() for p in _atomics(v, schema.field(k), f"{path}.{k}")]
    return own + [p for i, v in enumerate(value) for p in _atomics(v, schema.item, f"{path}[{i}]")]


def _concerns(policy: Object, compiled: Compiled, common: Object, param: Object | None, budget: cel.Budget) -> bool:
    """Whether the match conditions hold. Raises ConditionsFailed."""
    scope = complete(common, param, compiled.variables, budget)
    return conditions_hold(policy["spec"].get("matchConditions") or (), scope, params=True, budget=budget)


def _evaluate(program: "Program", compiled: Compiled, common: Object, param: Object | None, budget: cel.Budget) -> Any:
    """The value as JSON. Raises MutationFailed."""
    from apimachinery.cel.json import to_json
    from apimachinery.cel.patch_types import JSON_PATCH, check_names
    from apimachinery.cel.values import Struct

    try:
        made = program.evaluate(complete(common, param, compiled.variables, budget), budget)
        for part in made if isinstance(made, list) else [made]:
            if not isinstance(part, Struct):
                raise cel.EvaluationError("unsupported return type of the expression")
            if part.type_name != JSON_PATCH:
                check_names(part)
            elif isinstance(part.get("value"), Struct):
                check_names(part["value"], part["value"].type_name)
        return to_json(made)
    except cel.EvaluationError as error:
        raise MutationFailed(str(error)) from error


def _json_patch(before: Object, operations: list[Object]) -> Object:
    """Raises ApiError. A failed ``test`` leaves the object as it is."""
    for at, operation in enumerate(operations):
        if operation.get("op") == "test":
            try:
                patch.json_patch(before, operations[: at + 1])
            except ApiError:
                return before
    return patch.json_patch(before, operations)
