"""Removes pods that nobody else will: of nodes that are gone, never scheduled, out of service, finished and too many.

Source: ``pkg/controller/podgc/gc_controller.go``, KEP-2268 (out-of-service taint).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from apimachinery import pods as pod_facts
from apimachinery.client.api import STRATEGIC_MERGE_PATCH, Write
from apimachinery.client.informer import EventType
from apimachinery.errors import ApiError, Conflict, NotFound
from apimachinery.meta import Key, Object, format_time, get_condition, is_deleting, key_of, name_of
from apimachinery.scheme import NODES, PODS
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.node_conditions import ready_status

INTERVAL_SECONDS = 20.0
QUARANTINE_SECONDS = 40.0
_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_ROUND: Key = ("", "all")


@dataclass(frozen=True, slots=True)
class Removal:
    """``disrupted``: the message of the DisruptionTarget condition, "" for a pod that was ending anyhow."""

    pod: Object
    disrupted: str = ""


def plan(
    pods: Iterable[Object], nodes: Collection[str], gone: Collection[str], out: Collection[str], threshold: int
) -> list[Removal]:
    """Which pods to remove. ``nodes`` exist, ``gone`` surely do not, ``out`` are out of service; 0 = no threshold."""
    removals: list[Removal] = []
    finished: list[Object] = []
    for pod in pods:
        node = pod_facts.node_name(pod)
        if node and node not in nodes:
            if node in gone:
                removals.append(Removal(pod, "PodGC: node no longer exists"))
        elif is_deleting(pod) and (not node or node in out):
            removals.append(Removal(pod, f"PodGC: node {node} is out of service" if node else ""))
        elif pod_facts.is_finished(pod) and not is_deleting(pod):
            finished.append(pod)
    surplus = len(finished) - threshold if threshold > 0 else 0
    oldest = sorted(finished, key=lambda p: (p["metadata"].get("creationTimestamp", ""), name_of(p)))
    return removals + [Removal(pod) for pod in oldest[: max(0, surplus)]]


def is_out_of_service(node: Object) -> bool:
    """Somebody vouches by a taint that the node is off."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return ready_status(node) != "True" and any(t.get("key") == _OUT_OF_SERVICE for t in taints)


class PodGCController(ManagedController):
    """One key: a round over all pods, every 20 seconds and when a node goes."""

    name = "pod-garbage-collector-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._threshold = context.options.terminated_pod_gc_threshold
        self._nodes = context.informers.informer(NODES)
        self._pods = context.informers.informer(PODS)
        self._missing: dict[str, float] = {}
        self._nodes.add_handler(self._node_changed)
        self.queue.add(_ROUND)

    def _node_changed(self, event: EventType, old: Object | None, new: Object | None) -> None:
        if event == "DELETED" or (new is not None and is_out_of_service(new)):
            self.queue.add(_ROUND)

    async def reconcile(self, key: Key) -> float:
        pods, nodes = self._pods.store.list(), {name_of(n) for n in self._nodes.store.list()}
        gone = await self._surely_gone({pod_facts.node_name(p) for p in pods} - nodes - {""})
        out = {name_of(n) for n in self._nodes.store.list() if is_out_of_service(n)}
        for removal in plan(pods, nodes, gone, out, self._threshold):
            await self._remove(removal)
        return INTERVAL_SECONDS

    async def _surely_gone(self, missing: set[str]) -> set[str]:
        """Of the nodes that are not known, those missing for the quarantine and unknown to the API server too."""
        now = self.clock.monotonic()
        self._missing = {name: self._missing.get(name, now) for name in missing}
        ripe = [name for name, since in self._missing.items() if now - since >= QUARANTINE_SECONDS]
        return {name for name in ripe if not await self._exists(name)}

    async def _exists(self, name: str) -> bool:
        try:
            await self.client.get(NODES, name)
        except NotFound:
            return False
        return True

    async def _remove(self, removal: Removal) -> None:
        """Say why, so that the owner's rules can tell it from a failure, then delete it without grace."""
        namespace, name = key_of(removal.pod)
        self.log.info("Removing pod", pod=(namespace, name), why=removal.disrupted or None)
        writes = []
        if removal.disrupted or not pod_facts.is_finished(removal.pod):
            status = self._final_status(removal)
            patch = {"status": status}
            writes.append(
                Write.patch(PODS, name, namespace, patch, subresource="status", patch_type=STRATEGIC_MERGE_PATCH)
            )
        uid = removal.pod["metadata"]["uid"]
        writes.append(Write.delete(PODS, name, namespace, uid=uid, grace_period_seconds=0))
        for result in await self.client.write(writes):
            if isinstance(result, ApiError) and not isinstance(result, NotFound | Conflict):
                raise result

    def _final_status(self, removal: Removal) -> Object:
        status: Object = {} if pod_facts.is_finished(removal.pod) else {"phase": "Failed"}
        if removal.disrupted and get_condition(removal.pod, "DisruptionTarget") is None:
            condition = {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByPodGC",
                "message": removal.disrupted,
                "lastTransitionTime": format_time(self.clock.now()),
            }
            status["conditions"] = [condition]
        return status
