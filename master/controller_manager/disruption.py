"""Says how many pods of each PodDisruptionBudget may be evicted now. The eviction subresource spends from that.

Source: ``pkg/controller/disruption``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apimachinery import pods, scheme, selectors
from apimachinery.meta import (
    Key,
    Object,
    controller_of,
    format_time,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    parse_time,
    uid_of,
    with_condition,
)
from apimachinery.scheme import DEPLOYMENTS, PODS, REPLICA_SETS, STATEFUL_SETS
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.rolling import scaled
from master.controller_manager.status import write_status

BUDGETS = scheme.kind_of("poddisruptionbudgets", "policy")
REPLICATION_CONTROLLERS = scheme.kind_of("replicationcontrollers")
_SCALED = {k.kind: k for k in (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, REPLICATION_CONTROLLERS)}
NAMESPACE = "in-namespace"
EVICTION_SECONDS = 120.0
"""How long a pod that was evicted may take to be gone, before it is taken to have stayed."""


@dataclass(frozen=True, slots=True)
class Count:
    """Pods: how many there should be, how many of them must be healthy, how many are."""

    expected: int
    desired: int
    healthy: int

    @property
    def allowed(self) -> int:
        return max(0, self.healthy - self.desired) if self.expected else 0


class DisruptionController(ManagedController):
    name = "disruption-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._budgets = context.informers.informer(BUDGETS)
        self._budgets.add_index(NAMESPACE, lambda o: [namespace_of(o)])
        self._pods = context.informers.informer(PODS)
        self._pods.add_index(NAMESPACE, lambda o: [namespace_of(o)])
        self._scaled = {name: context.informers.informer(kind) for name, kind in _SCALED.items()}
        self.enqueue_object(self._budgets)
        self.enqueue_by(self._pods, self._budgets_of)
        for informer in self._scaled.values():
            self.enqueue_by(informer, lambda o: [key_of(b) for b in self._in(namespace_of(o))])

    def _in(self, namespace: str) -> list[Object]:
        return self._budgets.store.by_index(NAMESPACE, namespace)

    def _budgets_of(self, pod: Object) -> list[Key]:
        return [key_of(b) for b in self._in(namespace_of(pod)) if _selects(b, pod)]

    async def reconcile(self, key: Key) -> float | None:
        budget = self._budgets.store.get(*key)
        if budget is None or is_deleting(budget):
            return None
        covered = [p for p in self._pods.store.by_index(NAMESPACE, key[0]) if _selects(budget, p)]
        now = self.clock.now()
        disrupted = still_disrupted(budget, covered, now)
        healthy = sum(pods.is_ready(p) and not is_deleting(p) and name_of(p) not in disrupted for p in covered)
        count = counted(budget["spec"], len(covered), self._scale(covered), healthy)
        await write_status(self.client, BUDGETS, budget, status_of(budget, count, disrupted, now))
        return EVICTION_SECONDS if disrupted else None

    def _scale(self, covered: Iterable[Object]) -> int:
        """The replicas that the pods' controllers want together; a pod without a scaled one counts for itself."""
        wanted: dict[str, int] = {}
        for pod in covered:
            owner = self._owner(pod)
            if owner is None:
                wanted[uid_of(pod)] = 1
            else:
                replicas = (owner.get("spec") or {}).get("replicas")
                wanted[uid_of(owner)] = 1 if replicas is None else int(replicas)
        return sum(wanted.values())

    def _owner(self, obj: Object) -> Object | None:
        """The scaled object at the end of the chain of controllers: the Deployment of a pod's ReplicaSet."""
        found = None
        while (reference := controller_of(obj)) is not None and reference.get("kind") in self._scaled:
            owner = self._scaled[reference["kind"]].store.get(namespace_of(obj), reference["name"])
            if owner is None or uid_of(owner) != reference.get("uid"):
                break
            found = obj = owner
        return found


def _selects(budget: Object, pod: Object) -> bool:
    return selectors.from_object((budget.get("spec") or {}).get("selector")).matches(labels_of(pod))


def counted(spec: Mapping[str, Any], existing: int, scale: int, healthy: int) -> Count:
    """``existing`` pods match now; ``scale`` is how many their controllers want."""
    if spec.get("maxUnavailable") is not None:
        return Count(scale, max(0, scale - scaled(spec["maxUnavailable"], scale, round_up=True)), healthy)
    least = spec.get("minAvailable", 1)
    expected = scale if isinstance(least, str) else existing
    return Count(expected, scaled(least, expected, round_up=True), healthy)


def still_disrupted(budget: Object, covered: Iterable[Object], now: datetime) -> dict[str, str]:
    """``status.disruptedPods`` without those that are going, gone, or were spared after all."""
    waiting = {name_of(p) for p in covered if not is_deleting(p)}
    disrupted = (budget.get("status") or {}).get("disruptedPods") or {}
    return {
        name: stamp
        for name, stamp in disrupted.items()
        if name in waiting and (now - parse_time(stamp)).total_seconds() < EVICTION_SECONDS
    }


def status_of(budget: Object, count: Count, disrupted: dict[str, str], now: datetime) -> Object:
    old = budget.get("status") or {}
    condition = {
        "type": "DisruptionAllowed",
        "status": "True" if count.allowed else "False",
        "reason": "SufficientPods" if count.allowed else "InsufficientPods",
        "message": "",
        "observedGeneration": int(budget["metadata"].get("generation") or 0),
        "lastTransitionTime": format_time(now),
    }
    status = {
        "currentHealthy": count.healthy,
        "desiredHealthy": count.desired,
        "disruptionsAllowed": count.allowed,
        "expectedPods": count.expected,
        "observedGeneration": int(budget["metadata"].get("generation") or 0),
        "conditions": with_condition(old.get("conditions"), condition),
    }
    return status | ({"disruptedPods": disrupted} if disrupted else {})
