"""The configured webhooks, as the watch cache has them, and which of them a sort of request concerns.

Nothing is done for a request unless there are webhooks at all, and its sort is looked up only once for each state of
the configurations and of the table of kinds.
"""

from dataclasses import dataclass
from typing import Any

from apimachinery import meta
from apimachinery.scheme import Kind

from ...registry.reader import Reader
from ..chain import AdmissionRequest
from ..forms import Forms
from ..matching import EXEMPT_GROUP, Rule, Selectors, matched_kind

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Webhook:
    """``index`` is its place among all; ``hook`` its configuration as written."""

    configuration: str
    index: int
    hook: Object
    rules: tuple[Rule, ...]
    selectors: Selectors

    @property
    def name(self) -> str:
        return str(self.hook["name"])

    @property
    def fails_open(self) -> bool:
        return bool(self.hook.get("failurePolicy") == "Ignore")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A webhook whose rules match, and the kind as which it wants to see the object."""

    webhook: Webhook
    kind: Kind


class Source:
    """``configurations`` is the kind that holds the webhooks."""

    def __init__(self, reader: Reader, forms: Forms, configurations: Kind) -> None:
        self._reader, self._forms, self._kind = reader, forms, configurations
        self._state = (-1, -1)
        self._webhooks: list[Webhook] = []
        self._found: dict[tuple[Kind, str, str], tuple[Candidate, ...]] = {}

    def candidates(self, request: AdmissionRequest) -> tuple[Candidate, ...]:
        """In the order in which they are called: by the name of the configuration, then as written."""
        state = (self._reader.version(self._kind), self._forms.catalog.revision)
        if state != self._state:
            self._load()
            self._state = state
        if not self._webhooks or request.kind.group == EXEMPT_GROUP:
            return ()
        key = (request.kind, request.subresource, request.operation)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._find(*key)
        return found

    def _load(self) -> None:
        pairs = [
            (meta.name_of(configuration), hook)
            for configuration in sorted(self._reader.list(self._kind), key=meta.name_of)
            for hook in configuration.get("webhooks") or ()
        ]
        self._webhooks = [
            Webhook(name, at, hook, tuple(map(Rule.from_json, hook.get("rules") or ())), Selectors.from_json(hook))
            for at, (name, hook) in enumerate(pairs)
        ]
        self._found.clear()

    def _find(self, kind: Kind, subresource: str, operation: str) -> tuple[Candidate, ...]:
        others = self._forms.equivalents(kind)
        found = []
        for webhook in self._webhooks:
            equivalents = others if webhook.hook.get("matchPolicy") != "Exact" else ()
            wanted = matched_kind(webhook.rules, kind, subresource, operation, equivalents)
            if wanted is not None:
                found.append(Candidate(webhook, wanted))
        return tuple(found)
