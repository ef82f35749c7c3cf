"""Writes into each aggregating ClusterRole the rules of those that its selectors choose, for people to read.

The API server's authorizer follows the selectors by itself and does not wait for this.

Source: ``pkg/controller/clusterroleaggregation``.
"""

from collections.abc import Iterable
from typing import Any

from apimachinery import scheme, selectors
from apimachinery.errors import NotFound
from apimachinery.meta import Key, Object, labels_of, name_of
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.status import same

CLUSTER_ROLES = scheme.kind_of("clusterroles", "rbac.authorization.k8s.io")


class ClusterRoleAggregationController(ManagedController):
    """Keys are ("", name) of aggregating roles: a change of any role may concern each of them."""

    name = "clusterrole-aggregation-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._roles = context.informers.informer(CLUSTER_ROLES)
        self.enqueue_by(self._roles, lambda _: [("", name_of(r)) for r in self._roles.store.list() if _selectors(r)])

    async def reconcile(self, key: Key) -> None:
        role = self._roles.store.get(*key)
        if role is None or not _selectors(role):
            return
        rules = aggregated_rules(role, self._roles.store.list())
        if same(role.get("rules"), rules):
            return
        try:
            await self.client.update(CLUSTER_ROLES, {**role, "rules": rules})
        except NotFound:
            return


def aggregated_rules(role: Object, roles: Iterable[Object]) -> list[Any]:
    """The rules of what ``role`` selects, in the order of names, each once."""
    chosen = [selectors.from_object(s) for s in _selectors(role)]
    found: list[Any] = []
    for other in sorted(roles, key=name_of):
        if name_of(other) != name_of(role) and any(s.matches(labels_of(other)) for s in chosen):
            found.extend(rule for rule in other.get("rules") or () if rule not in found)
    return found


def _selectors(role: Object) -> list[Any]:
    return (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
