"""ReplicaSets: keep as many pods as declared.

Source: ``pkg/controller/replicaset``. The replication controller is the same with another kind and selector.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from apimachinery import pods as pod_facts
from apimachinery.errors import ApiError
from apimachinery.meta import (
    Key,
    Object,
    annotations_of,
    controller_of,
    format_time,
    get_condition,
    is_deleting,
    labels_of,
    namespace_of,
    parse_time,
    uid_of,
    with_condition,
    without_condition,
)
from apimachinery.scheme import PODS, REPLICA_SETS, Kind
from apimachinery.selectors import LabelSelector, from_object
from master.controller_manager import ownership
from master.controller_manager.expectations import Expectations
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.pod_control import PodControl, in_ending_namespace, pod_from_template
from master.controller_manager.status import write_status

BURST = 500
"""Pods created or deleted in one reconcile at most; the rest follows in the next."""

_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_ORDER = {"Pending": 0, "Unknown": 1, "Running": 2}


@dataclass(frozen=True)
class Plan:
    create: int = 0
    delete: Sequence[Object] = field(default_factory=tuple)


def replicas_of(owner: Mapping[str, Object]) -> int:
    return int(owner["spec"].get("replicas", 1))


def plan(wanted: int, active: Sequence[Object], related: Iterable[Object], now: datetime) -> Plan:
    """How many pods to create, or which to delete.

    ``related`` are the active pods of all sets of the same owner: of two pods that are otherwise alike, the one
    on the node that has more of them goes first.
    """
    surplus = len(active) - wanted
    if surplus <= 0:
        return Plan(create=min(BURST, -surplus))
    per_node = Counter(pod_facts.node_name(p) for p in related if pod_facts.is_active(p))
    ranked = sorted(active, key=lambda p: deletion_rank(p, per_node[pod_facts.node_name(p)], now))
    return Plan(delete=ranked[: min(BURST, surplus)])


def deletion_rank(pod: Object, pods_on_node: int, now: datetime) -> tuple[object, ...]:
    """Smaller goes first: what is worth least. Ages count by orders of two, so that it is not always the newest."""
    ready_since = pod_facts.ready_since(pod)
    return (
        bool(pod_facts.node_name(pod)),
        _PHASE_ORDER.get(pod_facts.phase(pod), 2),
        pod_facts.is_ready(pod),
        _deletion_cost(pod),
        -pods_on_node,
        _age_order(ready_since, now) if ready_since else 0,
        -pod_facts.restarts(pod),
        _age_order(parse_time(pod["metadata"]["creationTimestamp"]), now),
        uid_of(pod),
    )


def _deletion_cost(pod: Object) -> int:
    try:
        return int(annotations_of(pod).get(_COST, "0"))
    except ValueError:
        return 0


def _age_order(since: datetime, now: datetime) -> int:
    return int(math.log2(max(1.0, (now - since).total_seconds())))


def next_status(owner: Object, pods: Sequence[Object], failure: ApiError | None, grew: bool, now: datetime) -> Object:
    """The status that ``pods``, all that it owns, give. ``failure`` of creating (``grew``) or deleting them."""
    active = [p for p in pods if pod_facts.is_active(p)]
    labels = ((owner["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
    delay = int(owner["spec"].get("minReadySeconds") or 0)
    old = owner.get("status") or {}
    status = {
        **old,
        "replicas": len(active),
        "fullyLabeledReplicas": sum(labels.items() <= dict(labels_of(p)).items() for p in active),
        "readyReplicas": sum(pod_facts.is_ready(p) for p in active),
        "availableReplicas": sum(pod_facts.is_available(p, delay, now) for p in active),
        "observedGeneration": owner["metadata"].get("generation", 0),
    }
    if failure is None:
        conditions = without_condition(old.get("conditions"), "ReplicaFailure")
    elif get_condition(owner, "ReplicaFailure") is not None:
        conditions = old["conditions"]
    else:
        condition = {
            "type": "ReplicaFailure",
            "status": "True",
            "reason": "FailedCreate" if grew else "FailedDelete",
            "message": failure.message,
            "lastTransitionTime": format_time(now),
        }
        conditions = with_condition(old.get("conditions"), condition)
    return (
        {**status, "conditions": conditions} if conditions else {k: v for k, v in status.items() if k != "conditions"}
    )


def seconds_to_available(owner: Object, pods: Iterable[Object], now: datetime) -> float | None:
    """When to look again: when the next ready pod becomes available. None if none will by itself."""
    delay = int(owner["spec"].get("minReadySeconds") or 0)
    waits = [pod_facts.available_in(p, delay, now) for p in pods if pod_facts.is_active(p)]
    return min((w for w in waits if w), default=None)


class ReplicaSetController(ManagedController):
    name = "replicaset-controller"
    kind: ClassVar[Kind] = REPLICA_SETS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._owners = context.informers.informer(self.kind)
        self._pods = context.informers.informer(PODS)
        ownership.add_index(self._owners)
        ownership.add_index(self._pods)
        self._owners.add_index("namespace", lambda o: [namespace_of(o)])
        self._expectations: Expectations[Key] = Expectations(self._pods, self.queue, context.clock)
        self._status_writes: Expectations[Key] = Expectations(self._owners, self.queue, context.clock)
        self._control = PodControl(self.client, self.events, self._expectations)
        self.enqueue_object(self._owners)
        self.enqueue_by(self._pods, self._keys)

    def selector(self, owner: Object) -> LabelSelector:
        return from_object(owner["spec"].get("selector"))

    def _keys(self, pod: Object) -> list[Key]:
        """Whom a pod's change concerns: its controller, or all that might adopt it."""
        if controller_of(pod) is not None:
            return ownership.owner_keys(pod, self.kind)
        if is_deleting(pod):
            return []
        owners = self._owners.store.by_index("namespace", namespace_of(pod))
        return [(namespace_of(o), o["metadata"]["name"]) for o in owners if self.selector(o).matches(labels_of(pod))]

    async def reconcile(self, key: Key) -> float | None:
        owner = self._owners.store.get(*key)
        if owner is None:
            self._expectations.forget(key)
            self._status_writes.forget(key)
            return None
        if not self._status_writes.satisfied(key):
            return None  # its event is on its way
        # Asked before the pods are read: what they show afterwards includes every write of ours.
        settled = self._expectations.satisfied(key)
        pods = await ownership.claim(self.client, owner, self.kind, self.selector(owner), self._pods)
        failure, grew = None, False
        if settled and not is_deleting(owner):
            failure, grew = await self._manage(owner, pods)
        now = self.clock.now()
        written = await write_status(self.client, self.kind, owner, next_status(owner, pods, failure, grew, now))
        if written is not None:
            self._status_writes.wrote(key, written)
        if failure is not None and not in_ending_namespace(failure):
            raise failure
        return seconds_to_available(owner, pods, now)

    async def _manage(self, owner: Object, pods: Sequence[Object]) -> tuple[ApiError | None, bool]:
        """Create or delete; returns the first failure and whether it was of a create."""
        active = [p for p in pods if pod_facts.is_active(p)]
        step = plan(replicas_of(owner), active, self._related(owner), self.clock.now())
        if step.create:
            pod = pod_from_template(owner["spec"].get("template") or {}, owner, self.kind)
            self.log.debug("Too few pods", owner=owner["metadata"]["name"], creating=step.create)
            return await self._control.create(owner, [pod] * step.create), True
        return await self._control.delete(owner, step.delete), False

    def _related(self, owner: Object) -> list[Object]:
        """The pods of all sets that have the same controller as this one (a Deployment's), or just its own."""
        reference = controller_of(owner)
        sets = [owner]
        if reference is not None:
            sets = self._owners.store.by_index("controller", reference["uid"])
        return [pod for one in sets for pod in ownership.owned(self._pods, one)]
