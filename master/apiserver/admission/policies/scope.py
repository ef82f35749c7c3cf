"""The values of an expression's variables for one request, one binding, one parameter."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from apimachinery import cel, scheme
from apimachinery.scheme import Kind

from ...auth.authorizer import Authorizer
from ...registry.reader import Reader
from ..chain import AdmissionRequest
from ..expressions import values
from ..forms import Forms
from ..matching import namespace_of
from .environment import Environment

if TYPE_CHECKING:
    from apimachinery.cel.program import Program

Object = dict[str, Any]
Programs = Mapping[str, "Program"]


def define(environment: Environment, variables: Sequence[Object]) -> Programs:
    """Raises CompilationError."""
    return {v["name"]: environment.define(v["name"], v["expression"]) for v in variables}


def environment_of(spec: Object, *, patches: bool = False) -> Environment:
    params = "dyn" if spec.get("paramKind") else ""
    return Environment(params=params, composed=bool(spec.get("variables")), patches=patches)


class Variables(dict[str, Any]):
    """``variables``: each is evaluated when it is first named, and then known, its failure too."""

    def __init__(self, programs: Programs, scope: Object, budget: cel.Budget) -> None:
        super().__init__()
        self._programs, self._scope, self._budget = programs, scope, budget
        self._failures: dict[str, cel.EvaluationError] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._programs

    def __missing__(self, name: str) -> Any:
        if name in self._failures:
            raise self._failures[name]
        program = self._programs[name]
        try:
            value = self[name] = program.evaluate(self._scope, self._budget)
        except cel.BudgetExceeded:
            raise
        except cel.EvaluationError as error:
            self._failures[name] = failure = cel.EvaluationError(
                f'composited variable "{name}" fails to evaluate: {error}'
            )
            raise failure from error
        return value


class Scopes:
    """Makes the scopes of one request; what does not depend on binding and parameter is made once."""

    def __init__(self, reader: Reader, forms: Forms, authorizer: Authorizer, request: AdmissionRequest) -> None:
        self._reader, self._forms, self._authorizer, self._request = reader, forms, authorizer, request
        self._common: dict[Kind, Object] = {}

    async def common(self, kind: Kind) -> Object:
        """The variables but for ``params`` and ``variables``. Raises NotFound for a namespace that is not there."""
        if kind not in self._common:
            common = await values(self._request, kind, self._forms, self._authorizer)
            self._common[kind] = {**common, "namespaceObject": await self._namespace()}
        return self._common[kind]

    def object_changed(self) -> None:
        self._common.clear()

    async def _namespace(self) -> Object | None:
        if not self._request.namespace or self._request.kind is scheme.NAMESPACES:
            return None
        found = await namespace_of(self._reader, self._request.namespace)
        return {**found, "metadata": {**found["metadata"], "UID": found["metadata"]["uid"]}}


def complete(common: Object, param: Object | None, programs: Programs, budget: cel.Budget) -> Object:
    """All variables for one parameter."""
    scope = {**common, "params": param}
    scope["variables"] = Variables(programs, scope, budget)
    return scope
