"""The RBAC authorizer: bindings indexed by subject, read from the watch cache, microseconds a request.

The index is rebuilt when any role or binding has changed, on the next request; verdicts are remembered until then.
A ClusterRole with an aggregation rule has the rules of every ClusterRole that its selectors match.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from apimachinery import scheme, selectors
from apimachinery.memo import Memo

from ..registry.reader import Object, Reader
from .authorizer import Decision, RequestAttributes
from .rbac_rules import Rule, rules_of
from .service_account import PREFIX
from .user import User

GROUP = "rbac.authorization.k8s.io"
CLUSTER_ROLES = scheme.kind_of("clusterroles", GROUP)
CLUSTER_ROLE_BINDINGS = scheme.kind_of("clusterrolebindings", GROUP)
ROLES = scheme.kind_of("roles", GROUP)
ROLE_BINDINGS = scheme.kind_of("rolebindings", GROUP)
_KINDS = (CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS, ROLES, ROLE_BINDINGS)
_REMEMBERED = 8192

Subject = tuple[str, str]
"""("User" or "Group", name). Service accounts are users by their full name."""
Scoped = tuple[str, tuple[Rule, ...], str]
"""A namespace, or "" for the whole cluster, the rules granted there, and by which binding, in upstream's words."""

DENIED = Decision(False)


class RbacAuthorizer:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._stale = True
        self._grants: dict[Subject, list[Scoped]] = {}
        self._verdicts: Memo[tuple[Any, ...], Decision] = Memo(_REMEMBERED)
        for kind in _KINDS:
            reader.on_change(kind, self._forget)

    def _forget(self) -> None:
        self._stale = True

    def authorize(self, a: RequestAttributes) -> Decision:
        if self._stale:
            self._refresh()
        user = a.user
        key = (user.name, user.groups, a.verb, a.group, a.resource, a.subresource, a.namespace, a.name, a.path)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts.keep(key, self._decide(a))
        return verdict

    def _decide(self, a: RequestAttributes) -> Decision:
        for rules, why in self._granted(a.user, a.namespace):
            if any(rule.allows(a) for rule in rules):
                return Decision(True, why)
        return DENIED

    def rules_for(self, user: User, namespace: str) -> list[Rule]:
        """Everything that ``user`` may do in ``namespace``; with "" at the cluster scope."""
        if self._stale:
            self._refresh()
        return [rule for rules, _ in self._granted(user, namespace) for rule in rules]

    def role_rules(self, namespace: str, ref: Object) -> tuple[Rule, ...] | None:
        """The rules of the role that ``ref`` (a roleRef) names, or None if there is no such role."""
        kind, scope = (ROLES, namespace) if ref.get("kind") == "Role" else (CLUSTER_ROLES, "")
        role = self._reader.get(kind, scope, ref.get("name", ""))
        if role is None:
            return None
        if kind is CLUSTER_ROLES and role.get("aggregationRule"):
            return aggregated(role, self._reader.list(CLUSTER_ROLES))
        return rules_of(role)

    def _granted(self, user: User, namespace: str) -> Iterator[tuple[tuple[Rule, ...], str]]:
        subjects: list[Subject] = [("User", user.name), *(("Group", group) for group in user.groups)]
        for subject in subjects:
            for scope, rules, why in self._grants.get(subject, ()):
                if not scope or scope == namespace:
                    yield rules, why

    def _refresh(self) -> None:
        grants: defaultdict[Subject, list[Scoped]] = defaultdict(list)
        for kind in (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS):
            for binding in self._reader.list(kind):
                self._index(binding, grants)
        self._grants, self._stale = dict(grants), False
        self._verdicts.clear()

    def _index(self, binding: Object, grants: defaultdict[Subject, list[Scoped]]) -> None:
        namespace: str = binding["metadata"].get("namespace", "")
        ref = binding.get("roleRef") or {}
        rules = self.role_rules(namespace, ref)
        if rules:
            for subject in binding.get("subjects") or ():
                why = _reason(binding, ref, subject, namespace)
                grants[_subject_key(subject, namespace)].append((namespace, rules, why))


def _reason(binding: Object, ref: Object, subject: Object, namespace: str) -> str:
    meta = binding["metadata"]
    by = f'RoleBinding "{meta["name"]}/{namespace}"' if namespace else f'ClusterRoleBinding "{meta["name"]}"'
    name: str = subject.get("name", "")
    if subject.get("kind") == "ServiceAccount":
        name = f"{name}/{subject.get('namespace') or namespace}"
    return f'RBAC: allowed by {by} of {ref.get("kind")} "{ref.get("name")}" to {subject.get("kind")} "{name}"'


def _subject_key(subject: Object, namespace: str) -> Subject:
    name: str = subject.get("name", "")
    if subject.get("kind") == "ServiceAccount":
        return "User", f"{PREFIX}{subject.get('namespace') or namespace}:{name}"
    return str(subject.get("kind", "")), name


def aggregated(role: Object, cluster_roles: Iterable[Object]) -> tuple[Rule, ...]:
    """The rules of all ``cluster_roles`` that aggregation selects, however many steps away, without repeats."""
    everyone, found, pending = list(cluster_roles), dict[Rule, None](), [role]
    seen = {role["metadata"]["name"]}
    while pending:
        rule = pending.pop().get("aggregationRule") or {}
        chosen = [selectors.from_object(s) for s in rule.get("clusterRoleSelectors") or ()]
        for other in everyone:
            name, labels = other["metadata"]["name"], other["metadata"].get("labels") or {}
            if name not in seen and any(selector.matches(labels) for selector in chosen):
                seen.add(name)
                pending.append(other)
                if not other.get("aggregationRule"):
                    found |= dict.fromkeys(rules_of(other))
    return tuple(found)
