"""The policies and their bindings as the watch cache has them, and which of them concern a request.

As with webhooks, nothing is done for a request unless there are policies with bindings at all, and its sort is looked
up once for each state of policies, bindings and the table of kinds. A policy is compiled for its first request.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from apimachinery import scheme
from apimachinery.errors import ApiError
from apimachinery.meta import name_of
from apimachinery.scheme import Kind

from ...registry.reader import Reader
from ..chain import AdmissionRequest
from ..forms import Forms
from ..matching import EXEMPT_GROUP, Rule, Selectors, matched_kind

Object = dict[str, Any]
P = TypeVar("P")


class ConfigurationError(Exception):
    """A policy or binding cannot be used as it is."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """``matchConstraints`` or ``matchResources``. ``rules`` of None: every request matches."""

    rules: tuple[Rule, ...] | None
    excluded: tuple[Rule, ...]
    exact: bool
    selectors: Selectors

    @classmethod
    def from_json(cls, match: Object | None) -> "Constraints":
        match = match or {}
        rules, excluded = (tuple(map(Rule.from_json, match.get(k) or ())) for k in _RULES)
        exact = match.get("matchPolicy") == "Exact"
        return cls(rules or None, excluded, exact, Selectors.from_json(match))

    def sort(self, kind: Kind, subresource: str, operation: str, others: Iterable[Kind]) -> Kind | None:
        """The kind as which a sort of request matches, by its rules but for the names in them."""
        if self.rules is None:
            return kind
        return matched_kind(self.rules, kind, subresource, operation, () if self.exact else others)

    def match(self, request: AdmissionRequest, others: Sequence[Kind]) -> Kind | None:
        """The kind as which a request matches, by all rules; selectors apart."""
        key = (request.kind, request.subresource, request.operation)
        others = () if self.exact else others
        named = [r for r in self.excluded if not r.names or request.name in r.names]
        if matched_kind(named, *key, others) is not None:
            return None
        if self.rules is None:
            return request.kind
        named = [r for r in self.rules if not r.names or request.name in r.names]
        return matched_kind(named, *key, others)


_RULES = ("resourceRules", "excludeResourceRules")


class Policy(Generic[P]):
    """A policy with its bindings. ``made`` holds what the plugin makes of it, once that was needed."""

    def __init__(self, raw: Object, bindings: Sequence["Binding"], compile_: Callable[[Object], P]) -> None:
        self.name, self.raw, self.bindings = name_of(raw), raw, tuple(bindings)
        self.constraints = Constraints.from_json(raw["spec"].get("matchConstraints"))
        self.fails_open = raw["spec"].get("failurePolicy") == "Ignore"
        self._compile = compile_
        self.made: list[P] = []

    @property
    def compiled(self) -> P:
        """Raises CompilationError."""
        if not self.made:
            self.made.append(self._compile(self.raw))
        return self.made[0]


class Binding:
    def __init__(self, raw: Object) -> None:
        self.name, self.raw = name_of(raw), raw
        self.constraints = Constraints.from_json(raw["spec"].get("matchResources"))


@dataclass(frozen=True, slots=True)
class Match(Generic[P]):
    """A policy that concerns a request, with those of its bindings that do, and the kind as which it wants it."""

    policy: Policy[P]
    kind: Kind
    bindings: tuple[Binding, ...]


class Source(Generic[P]):
    """``policies`` and ``bindings`` are the resources that hold them; ``make`` compiles a policy."""

    def __init__(self, reader: Reader, forms: Forms, policies: str, bindings: str, make: Callable[[Object], P]) -> None:
        self._reader, self._forms, self._make = reader, forms, make
        self._kinds = scheme.kind_of(policies, EXEMPT_GROUP), scheme.kind_of(bindings, EXEMPT_GROUP)
        self._state: tuple[int, ...] = ()
        self._policies: dict[str, Policy[P]] = {}
        self._found: dict[tuple[Kind, str, str], tuple[Policy[P], ...]] = {}

    def candidates(self, request: AdmissionRequest) -> tuple[Policy[P], ...]:
        """In the order of their names."""
        state = (*map(self._reader.version, self._kinds), self._forms.catalog.revision)
        if state != self._state:
            self._load()
            self._state = state
        if not self._policies or request.kind.group == EXEMPT_GROUP:
            return ()
        key = (request.kind, request.subresource, request.operation)
        found = self._found.get(key)
        if found is None:
            others = self._forms.equivalents(request.kind)
            matching = (p for p in self._policies.values() if p.constraints.sort(*key, others) is not None)
            found = self._found[key] = tuple(matching)
        return found

    def _load(self) -> None:
        """What has not changed stays compiled."""
        definitions, bindings = self._kinds
        bound: dict[str, list[Binding]] = {}
        for raw in sorted(self._reader.list(bindings), key=name_of):
            bound.setdefault(raw["spec"]["policyName"], []).append(Binding(raw))
        before, self._policies = self._policies, {}
        for raw in sorted(self._reader.list(definitions), key=name_of):
            name = name_of(raw)
            if name in bound:
                made = Policy(raw, bound[name], self._make)
                if name in before and before[name].raw is raw:
                    made.made = before[name].made
                self._policies[name] = made
        self._found.clear()

    async def matches(self, request: AdmissionRequest) -> list[Match[P]]:
        """Raises ConfigurationError only for what fails closed."""
        found = []
        others = self._forms.equivalents(request.kind)
        for policy in self.candidates(request):
            try:
                kind = policy.constraints.match(request, others)
                if kind is None or not await policy.constraints.selectors.match(self._reader, request):
                    continue
                bindings = [b for b in policy.bindings if await self._binds(b, request, others)]
            except ApiError as error:
                if not policy.fails_open:
                    raise ConfigurationError(f"failed to configure policy: {error}") from error
                continue
            if bindings:
                found.append(Match(policy, kind, tuple(bindings)))
        return found

    async def _binds(self, binding: Binding, request: AdmissionRequest, others: Sequence[Kind]) -> bool:
        constraints = binding.constraints
        return constraints.match(request, others) is not None and await constraints.selectors.match(
            self._reader, request
        )
