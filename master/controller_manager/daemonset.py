"""DaemonSets: one pod on every node that is eligible.

What to do is decided in ``daemonset_plan``. Source: ``pkg/controller/daemon``.
"""

from collections.abc import Sequence

from apimachinery import pods as pod_facts
from apimachinery.backoff import Backoff
from apimachinery.errors import ApiError
from apimachinery.meta import (
    Key,
    Object,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from apimachinery.placement import taints_of
from apimachinery.scheme import DAEMON_SETS, NODES, PODS
from apimachinery.selectors import from_object
from master.controller_manager import daemonset_plan as plans
from master.controller_manager import ownership
from master.controller_manager.controller_revisions import (
    CONTROLLER_REVISIONS,
    HASH_LABEL,
    History,
    Revisions,
)
from master.controller_manager.daemonset_plan import Step
from master.controller_manager.expectations import Expectations
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.pod_control import PodControl, in_ending_namespace
from master.controller_manager.replicaset import BURST, seconds_to_available
from master.controller_manager.status import write_status

FailedOn = tuple[str, int, str]  # uid and generation of the set, node


class DaemonSetController(ManagedController):
    name = "daemonset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sets = context.informers.informer(DAEMON_SETS)
        self._pods = context.informers.informer(PODS)
        self._nodes = context.informers.informer(NODES)
        revisions = context.informers.informer(CONTROLLER_REVISIONS)
        ownership.add_index(self._pods)
        self._sets.add_index("namespace", lambda o: [namespace_of(o)])
        self._revisions = Revisions(self.client, DAEMON_SETS, revisions)
        self._expectations: Expectations[Key] = Expectations(self._pods, self.queue, context.clock)
        self._status_writes: Expectations[Key] = Expectations(self._sets, self.queue, context.clock)
        self._control = PodControl(self.client, self.events, self._expectations)
        self._failed: dict[FailedOn, tuple[Backoff, float]] = {}  # and when its next pod may be replaced
        self.enqueue_object(self._sets)
        self.enqueue_by(self._pods, self._keys)
        self.enqueue_by(revisions, lambda r: ownership.owner_keys(r, DAEMON_SETS))
        self._nodes.add_handler(self._node_changed)

    def _keys(self, pod: Object) -> list[Key]:
        return ownership.concerned_keys(pod, DAEMON_SETS, self._sets)

    def _node_changed(self, event: str, old: Object | None, new: Object | None) -> None:
        """Only what decides where pods may be: nodes report their state all the time."""
        if old and new and labels_of(old) == labels_of(new) and taints_of(old) == taints_of(new):
            return
        for key in self._sets.store.keys():  # noqa: SIM118 - a Store is not a dict
            self.queue.add(key)

    async def reconcile(self, key: Key) -> float | None:
        daemon_set = self._sets.store.get(*key)
        if daemon_set is None:
            self._expectations.forget(key)
            self._status_writes.forget(key)
            return None
        if not self._status_writes.satisfied(key):
            return None  # its event is on its way
        selector = from_object(daemon_set["spec"].get("selector"))
        if selector.everything:
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self.events.event(daemon_set, "Warning", "SelectingAll", message)
            return None
        if is_deleting(daemon_set):
            return None
        history = await self._revisions.of(daemon_set)
        if history is None:
            return None
        settled = self._expectations.satisfied(key)
        pods = await ownership.claim(self.client, daemon_set, DAEMON_SETS, selector, self._pods)
        failure = await self._manage(daemon_set, pods, history) if settled else None
        await self._write_status(daemon_set, pods, history)
        if failure is not None and not in_ending_namespace(failure):
            raise failure
        await self._revisions.clean_up(daemon_set, history, {labels_of(p).get(HASH_LABEL, "") for p in pods})
        return self._look_again(daemon_set, pods)

    async def _manage(self, daemon_set: Object, pods: Sequence[Object], history: History) -> ApiError | None:
        """One step of placing or, when every node has its pod, of updating. Returns the first failure."""
        now, nodes, there = self.clock.now(), self._nodes.store.list(), plans.by_node(pods)
        step = plans.place(daemon_set, nodes, there, history.hash, now)
        step.delete += [p for p in step.ended if self._may_replace(daemon_set, p)]
        if step.create or step.delete:
            return await self._act(daemon_set, step, history)
        strategy = (daemon_set["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate")
        if strategy != "RollingUpdate":
            return None
        return await self._act(daemon_set, plans.roll(daemon_set, nodes, there, history.hash, now), history)

    async def _act(self, daemon_set: Object, step: Step, history: History) -> ApiError | None:
        pods = [plans.pod_for_node(daemon_set, node, history.hash) for node in step.create[:BURST]]
        failure = await self._control.create(daemon_set, pods)
        return await self._control.delete(daemon_set, step.delete[:BURST]) or failure

    def _may_replace(self, daemon_set: Object, pod: Object) -> bool:
        """A pod that ended is replaced; one that failed with a growing delay, or it would fail in a loop."""
        phase, node = pod_facts.phase(pod), plans.target_node(pod)
        if phase == "Failed":
            key = (uid_of(daemon_set), int(daemon_set["metadata"].get("generation") or 0), node)
            backoff, until = self._failed.get(key, (Backoff(initial=1.0, maximum=900.0, jitter=0.0), 0.0))
            now = self.clock.monotonic()
            if now < until:
                self.queue.add_after(key_of(daemon_set), until - now)
                return False
            self._failed[key] = (backoff, now + backoff.next())
        verb = "kill" if phase == "Failed" else "delete"
        message = (
            f"Found {phase.lower()} daemon pod {namespace_of(pod)}/{name_of(pod)} on node {node}, will try to {verb} it"
        )
        kind = "Warning" if phase == "Failed" else "Normal"
        self.events.event(daemon_set, kind, f"{phase}DaemonPod", message)
        return True

    async def _write_status(self, daemon_set: Object, pods: Sequence[Object], history: History) -> None:
        nodes, there = self._nodes.store.list(), plans.by_node(pods)
        status = plans.next_status(daemon_set, nodes, there, history.hash, self.clock.now())
        written = await write_status(self.client, DAEMON_SETS, daemon_set, status)
        if written is not None:
            self._status_writes.wrote(key_of(daemon_set), written)

    def _look_again(self, daemon_set: Object, pods: Sequence[Object]) -> float | None:
        """When the next pod becomes available; and forget failures that are over."""
        now = self.clock.monotonic()
        self._failed = {k: v for k, v in self._failed.items() if now < v[1] + 2 * v[0].maximum}
        return seconds_to_available(daemon_set, pods, self.clock.now())
