"""What RBAC rules allow, and whether one set of rules covers another. Pure.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .authorizer import RequestAttributes

ALL = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """A PolicyRule with its lists as sets."""

    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()

    @classmethod
    def from_json(cls, rule: Mapping[str, Any]) -> "Rule":
        keys = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
        return cls(*(frozenset(rule.get(key) or ()) for key in keys))

    def to_json(self) -> dict[str, Any]:
        parts = {"apiGroups": self.groups, "resources": self.resources, "resourceNames": self.names}
        parts["nonResourceURLs"] = self.paths
        return {"verbs": sorted(self.verbs)} | {key: sorted(value) for key, value in parts.items() if value}

    def allows(self, a: RequestAttributes) -> bool:
        if a.verb not in self.verbs and ALL not in self.verbs:
            return False
        if not a.resource:
            return self.allows_path(a.path)
        return (
            (a.group in self.groups or ALL in self.groups)
            and self.allows_resource(a.resource, a.subresource)
            and (not self.names or a.name in self.names)
        )

    def allows_resource(self, resource: str, subresource: str) -> bool:
        if ALL in self.resources:
            return True
        if not subresource:
            return resource in self.resources
        return f"{resource}/{subresource}" in self.resources or f"*/{subresource}" in self.resources

    def allows_path(self, path: str) -> bool:
        return any(p in (ALL, path) or (p.endswith(ALL) and path.startswith(p[:-1])) for p in self.paths)


def rules_of(role: Mapping[str, Any]) -> tuple[Rule, ...]:
    return tuple(Rule.from_json(rule) for rule in role.get("rules") or ())


def uncovered(wanted: Iterable[Rule], owned: Iterable[Rule]) -> list[Rule]:
    """The parts of ``wanted`` that no single rule of ``owned`` allows: empty if who owns may grant what is wanted."""
    held = tuple(owned)
    return [part for rule in wanted for part in _parts(rule) if not any(_covers(have, part) for have in held)]


def _parts(rule: Rule) -> Iterator[Rule]:
    """One rule for each single combination: of what a rule lists, each may come from a different owned rule."""
    for verb in rule.verbs:
        verbs = frozenset((verb,))
        for path in rule.paths:
            yield Rule(verbs, paths=frozenset((path,)))
        for group in rule.groups:
            for resource in rule.resources:
                for name in rule.names or ("",):
                    names = frozenset((name,)) if name else frozenset()
                    yield Rule(verbs, frozenset((group,)), frozenset((resource,)), names)


def _covers(have: Rule, part: Rule) -> bool:
    (verb,) = part.verbs
    if verb not in have.verbs and ALL not in have.verbs:
        return False
    if part.paths:
        (path,) = part.paths
        return have.allows_path(path)
    (group,), (wanted,) = part.groups, part.resources
    resource, _, subresource = wanted.partition("/")
    names_covered = not have.names or (bool(part.names) and part.names <= have.names)
    return (
        names_covered
        and (group in have.groups or ALL in have.groups)
        and (wanted in have.resources or have.allows_resource(resource, subresource))
    )
