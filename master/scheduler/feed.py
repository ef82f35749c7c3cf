"""Brings what the informers see into the snapshot and the queue, and notes which events may help waiting pods."""

from collections.abc import Callable
from functools import partial
from typing import Any

from apimachinery.client.informer import Informer, InformerFactory
from apimachinery.csi import CSI_DRIVERS, CSI_NODES, CSI_STORAGE_CAPACITIES
from apimachinery.meta import key_of, labels_of
from apimachinery.persistent_volumes import STORAGE_CLASSES
from apimachinery.scheme import (
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SERVICES,
    Kind,
    kind_of,
)
from master.scheduler.columns import taint_set
from master.scheduler.engine import Engine, Nomination
from master.scheduler.framework import Event
from master.scheduler.peers import OWNER_KINDS
from master.scheduler.queue import SchedulingQueue
from master.scheduler.requests import amounts
from master.scheduler.shape import Key, PodShape, ShapeCache
from master.scheduler.slim import slim_owner, slim_pod

Object = dict[str, Any]
# Finished pods hold no resources: to the scheduler they are gone.
LIVE_PODS = "status.phase!=Succeeded,status.phase!=Failed"
_OWNERS = tuple(
    kind_of(resource, group)
    for resource, group in (("replicationcontrollers", ""), ("replicasets", "apps"), ("statefulsets", "apps"))
)
BUDGETS = kind_of("poddisruptionbudgets", "policy")


class Feed:
    """Handlers only update state and call ``wake``; nothing here blocks.

    ``events`` and ``rows`` gather what has happened, and on which nodes, until the scheduler takes them.
    """

    def __init__(
        self, informers: InformerFactory, engine: Engine, queue: SchedulingQueue, name: str, wake: Callable[[], None]
    ) -> None:
        self.engine, self.snapshot, self.queue = engine, engine.snapshot, queue
        self.shapes = ShapeCache()
        self.events: set[Event] = set()
        self.rows: set[int] = set()
        self._name, self._wake, self._informers = name, wake, informers
        self.pods: Informer = informers.informer(PODS, field_selector=LIVE_PODS, transform=slim_pod)
        # Nodes first: a pod of an unknown node would be placed twice.
        self._on(informers, NODES, self._node)
        self._on(informers, NAMESPACES, self._namespace)
        self._on(informers, SERVICES, self._service)
        self.storage = {
            PERSISTENT_VOLUME_CLAIMS: self.snapshot.claims,
            PERSISTENT_VOLUMES: self.snapshot.volumes,
            STORAGE_CLASSES: self.snapshot.storage_classes,
            CSI_DRIVERS: self.snapshot.csi_drivers,
            CSI_NODES: self.snapshot.csi_nodes,
            CSI_STORAGE_CAPACITIES: self.snapshot.csi_capacities,
        }
        for kind, table in self.storage.items():
            self._on(informers, kind, partial(self._storage, table))
        self._on(informers, BUDGETS, self._budget)
        for kind in _OWNERS:
            informers.informer(kind, transform=slim_owner).add_handler(lambda _, old, new: self._owner(old, new))
        self.pods.add_handler(lambda _, old, new: self._pod(old, new))

    def take_events(self) -> tuple[frozenset[Event], set[int]]:
        events, rows = frozenset(self.events), self.rows
        self.events, self.rows = set(), set()
        return events, rows

    def note(self, *events: Event, row: int | None = None) -> None:
        """Something happened, on the node of ``row``, that may help waiting pods."""
        self.events.update(events)
        if row is not None:
            self.rows.add(row)
        self._wake()

    def forget(self, key: Key) -> None:
        """A pod is gone, or its binding failed: nothing is counted for it any more."""
        placement = self.snapshot.remove(key)
        if placement is not None:
            self.note(Event.POD_REMOVED, row=placement.row)

    def drop_nomination(self, key: Key) -> None:
        nomination = self.engine.nominations.pop(key, None)
        if nomination is not None:
            self.note(Event.NODE_ALLOCATABLE, row=self.snapshot.rows.get(nomination.node))

    def _on(
        self, informers: InformerFactory, kind: Kind, handle: Callable[[Object | None, Object | None], None]
    ) -> None:
        informers.informer(kind).add_handler(lambda _, old, new: handle(old, new))

    # --- pods

    def _pod(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._pod_gone(key_of(old or {}))
        elif (new.get("spec") or {}).get("nodeName"):
            self._assigned(new)
        elif new["metadata"].get("deletionTimestamp"):
            self._pod_gone(key_of(new))
        else:
            self._unassigned(new)

    def _pod_gone(self, key: Key) -> None:
        self.queue.remove(key)
        self.drop_nomination(key)
        self.forget(key)

    def _assigned(self, pod: Object) -> None:
        key = key_of(pod)
        before = self.snapshot.placements.get(key)
        known = before.shape if before and before.pod else None
        self.queue.remove(key)
        self.drop_nomination(key)
        shape = self.shapes.of(pod)
        if self.snapshot.confirm(key, shape, pod) or known is None:
            self.note(*_pod_events(known, shape), row=self.snapshot.placements[key].row)

    def _unassigned(self, pod: Object) -> None:
        key, shape = key_of(pod), self.shapes.of(pod)
        if key in self.snapshot.placements or shape.scheduler_name != self._name:
            return  # its binding is under way, or it is another scheduler's
        nominated = (pod.get("status") or {}).get("nominatedNodeName")
        if nominated and key not in self.engine.nominations:
            self.engine.nominations[key] = Nomination(nominated, shape)
        self.queue.add(key, pod["metadata"]["uid"], shape)
        self._wake()

    # --- everything else

    def _node(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self.snapshot.remove_node((old or {})["metadata"]["name"])
            self.note(Event.NODE_REMOVED)
            return
        events = _node_events(old, new)
        if events:
            self.note(*events, row=self.snapshot.set_node(new))
        else:
            self.snapshot.refresh_node(new)

    def _namespace(self, old: Object | None, new: Object | None) -> None:
        self.snapshot.set_namespace((new or old or {})["metadata"]["name"], None if new is None else labels_of(new))
        if old is None or new is None or labels_of(old) != labels_of(new):
            self.note(Event.NAMESPACE_LABELS)

    def _service(self, old: Object | None, new: Object | None) -> None:
        selector = (new.get("spec") or {}).get("selector") if new else None
        self.snapshot.peers.set_service(*key_of(new or old or {}), selector)
        self.snapshot.tick()

    def _owner(self, old: Object | None, new: Object | None) -> None:
        about = new or old or {}
        namespace, name = key_of(about)
        selector = (new.get("spec") or {}).get("selector") if new else None
        if about.get("kind") in OWNER_KINDS:
            self.snapshot.peers.set_owner(namespace, about["kind"], name, selector)
            self.snapshot.tick()

    def _storage(self, table: dict[Key, Object], old: Object | None, new: Object | None) -> None:
        self._keep(table, old, new)
        self.snapshot.tick()
        self.note(Event.CLAIM_CHANGED)

    def reread(self, kind: Kind, obj: Object) -> None:
        """Go back from what was assumed of a claim or a volume to what the informer has."""
        key = key_of(obj)
        known = self._informers.informer(kind).store.get(*key)
        self._storage(self.storage[kind], obj, known)

    def _budget(self, old: Object | None, new: Object | None) -> None:
        self._keep(self.snapshot.budgets, old, new)

    def _keep(self, table: dict[Key, Object], old: Object | None, new: Object | None) -> None:
        if new is None:
            table.pop(key_of(old or {}), None)
        else:
            table[key_of(new)] = new


def _pod_events(before: PodShape | None, now: PodShape) -> set[Event]:
    if before is None:
        return {Event.POD_PLACED}
    freed = any(amount > now.requests.get(name, 0) for name, amount in before.requests.items())
    return {Event.POD_LABELS} | ({Event.POD_REMOVED} if freed else set())


def _node_events(old: Object | None, new: Object) -> set[Event]:
    """What of a node has changed that a decision could depend on."""
    if old is None:
        return {Event.NODE_ADDED}
    (old_spec, old_status), (spec, status) = ((node.get("spec") or {}, node.get("status") or {}) for node in (old, new))
    events = set()
    if labels_of(old) != labels_of(new):
        events.add(Event.NODE_LABELS)
    if taint_set(old) != taint_set(new) or bool(old_spec.get("unschedulable")) != bool(spec.get("unschedulable")):
        events.add(Event.NODE_TAINTS)
    if amounts(old_status.get("allocatable")) != amounts(status.get("allocatable")):
        events.add(Event.NODE_ALLOCATABLE)
    if old_status.get("images") != status.get("images") and not events:
        events.add(Event.NODE_LABELS)  # images change scores only; this refreshes the node's row
    return events
