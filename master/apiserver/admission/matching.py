"""Which requests a webhook or a policy is about: rules over kinds and operations, and selectors over labels.

Source: ``k8s.io/apiserver/pkg/admission/plugin/webhook/predicates``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apimachinery import scheme
from apimachinery.errors import NotFound
from apimachinery.scheme import Kind
from apimachinery.selectors import EVERYTHING, LabelSelector, from_object

from ..registry.reader import Reader
from .chain import AdmissionRequest

Object = dict[str, Any]
EXEMPT_GROUP = "admissionregistration.k8s.io"
"""What configures admission is never submitted to it: nobody could repair a broken configuration."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A ``RuleWithOperations``. ``names``: of policies only; empty means all."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    scope: str
    names: frozenset[str] = frozenset()

    @classmethod
    def from_json(cls, rule: Mapping[str, Any]) -> "Rule":
        operations, groups, versions, names = (
            frozenset(rule.get(k) or ()) for k in ("operations", "apiGroups", "apiVersions", "resourceNames")
        )
        split = (r.partition("/") for r in rule.get("resources") or ())
        resources = tuple((resource, subresource) for resource, _, subresource in split)
        return cls(operations, groups, versions, resources, rule.get("scope") or "*", names)

    def matches(self, kind: Kind, subresource: str, operation: str) -> bool:
        """Whether all but the name fits."""
        return (
            _one_of(self.operations, operation)
            and _one_of(self.groups, kind.group)
            and _one_of(self.versions, kind.version)
            and self.scope in ("*", "Namespaced" if kind.namespaced else "Cluster")
            and any(r in ("*", kind.resource) and s in ("*", subresource) for r, s in self.resources)
        )


def _one_of(wanted: frozenset[str], value: str) -> bool:
    return "*" in wanted or value in wanted


def matched_kind(
    rules: Sequence[Rule], kind: Kind, subresource: str, operation: str, equivalents: Iterable[Kind]
) -> Kind | None:
    """The kind as which a rule wants to see objects of ``kind``: itself if a rule names it, else the first of its
    ``equivalents`` (none for matchPolicy Exact) that one does; None where no rule matches."""
    if any(rule.matches(kind, subresource, operation) for rule in rules):
        return kind
    others = tuple(equivalents)
    return next((k for rule in rules for k in others if rule.matches(k, subresource, operation)), None)


@dataclass(frozen=True, slots=True)
class Selectors:
    """``namespaceSelector`` and ``objectSelector``; absent ones select everything."""

    namespace: LabelSelector
    object: LabelSelector

    @classmethod
    def from_json(cls, holder: Mapping[str, Any]) -> "Selectors":
        """Raises BadRequest for an unknown operator."""
        parsed = (
            from_object(holder[k]) if holder.get(k) else EVERYTHING for k in ("namespaceSelector", "objectSelector")
        )
        return cls(*parsed)

    async def match(self, reader: Reader, request: AdmissionRequest) -> bool:
        """Whether the request's namespace and its object, the new or the old one, are selected. Raises NotFound for a
        namespace that is not there."""
        if not self.object.everything and not any(self._selects(o) for o in (request.object, request.old)):
            return False
        if self.namespace.everything:
            return True
        labels = await _namespace_labels(reader, request)
        return labels is None or self.namespace.matches(labels)

    def _selects(self, obj: Object | None) -> bool:
        metadata = (obj or {}).get("metadata")
        return metadata is not None and self.object.matches(metadata.get("labels"))


async def _namespace_labels(reader: Reader, request: AdmissionRequest) -> Mapping[str, str] | None:
    """None for an object outside of all namespaces, which no namespace selector leaves out."""
    if request.kind is scheme.NAMESPACES:
        if request.object is not None and not request.subresource:
            return (request.object.get("metadata") or {}).get("labels") or {}
        name = request.name
    else:
        name = request.namespace
    if not name:
        return None
    found = await namespace_of(reader, name)
    return found["metadata"].get("labels") or {}


async def namespace_of(reader: Reader, name: str) -> Object:
    """Raises NotFound."""
    found = reader.get(scheme.NAMESPACES, "", name) or await reader.get_consistent(scheme.NAMESPACES, "", name)
    if found is None:
        raise NotFound(f'namespaces "{name}" not found', name=name, kind="namespaces")
    return found
