"""Evicts pods from nodes with NoExecute taints, when their tolerations have run out.

The time counts from the taint's ``timeAdded`` (from when it was first seen here, if it has none), so a restart of
this process neither shortens nor prolongs it. Source: ``pkg/controller/tainteviction``.
"""

from datetime import datetime, timedelta

from apimachinery import pods as pod_facts
from apimachinery.client.api import STRATEGIC_MERGE_PATCH, Write
from apimachinery.client.informer import EventType
from apimachinery.errors import ApiError, Conflict, NotFound
from apimachinery.meta import Key, Object, format_time, is_deleting, key_of, name_of, parse_time
from apimachinery.scheme import NODES, PODS
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.node_lifecycle import BY_NODE

TaintKey = tuple[str, str]


def no_execute(node: Object | None) -> list[Object]:
    return [t for t in ((node or {}).get("spec") or {}).get("taints") or () if t.get("effect") == "NoExecute"]


def taint_key(taint: Object) -> TaintKey:
    return taint.get("key", ""), taint.get("value") or ""


def tolerates(toleration: Object, taint: Object) -> bool:
    """core/v1 ``ToleratesTaint`` for a NoExecute taint."""
    if toleration.get("effect") not in {None, "", "NoExecute"}:
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def eviction_time(pod: Object, taints: list[tuple[Object, datetime]]) -> datetime | None:
    """When the pod has to go because of ``taints`` and since when each counts; None: never."""
    times = []
    for taint, since in taints:
        tolerations = [t for t in (pod.get("spec") or {}).get("tolerations") or () if tolerates(t, taint)]
        if not tolerations:
            return since
        seconds = [t["tolerationSeconds"] for t in tolerations if t.get("tolerationSeconds") is not None]
        if seconds:
            times.append(since + timedelta(seconds=max(0, min(seconds))))
    return min(times, default=None)


class TaintEvictionController(ManagedController):
    """Keys are pods. ``_first_seen[node, taint]`` holds taints without a time, as long as they last."""

    name = "taint-eviction-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._nodes = context.informers.informer(NODES)
        self._pods = context.informers.informer(PODS)
        self._pods.add_index(BY_NODE, lambda p: [pod_facts.node_name(p)])
        self._first_seen: dict[tuple[str, TaintKey], datetime] = {}
        self._nodes.add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)

    def _node_changed(self, _: EventType, old: Object | None, new: Object | None) -> None:
        name, taints = name_of(new or old or {}), no_execute(new)
        present = {(name, taint_key(t)) for t in taints}
        for known in [k for k in self._first_seen if k[0] == name and k not in present]:
            del self._first_seen[known]
        for key in present:
            self._first_seen.setdefault(key, self.clock.now())
        if taints != no_execute(old):
            for pod in self._pods.store.by_index(BY_NODE, name):
                self.queue.add(key_of(pod))

    def _pod_changed(self, _: EventType, old: Object | None, new: Object | None) -> None:
        if new is not None and no_execute(self._nodes.store.get("", pod_facts.node_name(new))):
            self.queue.add(key_of(new))

    async def reconcile(self, key: Key) -> float | None:
        pod = self._pods.store.get(*key)
        if pod is None or is_deleting(pod) or not pod_facts.node_name(pod):
            return None
        node = pod_facts.node_name(pod)
        taints = [(t, self._since(node, t)) for t in no_execute(self._nodes.store.get("", node))]
        when = eviction_time(pod, taints)
        if when is None:
            return None
        left = (when - self.clock.now()).total_seconds()
        if left > 0:
            return left
        await self._evict(pod)
        return None

    def _since(self, node: str, taint: Object) -> datetime:
        if taint.get("timeAdded"):
            return parse_time(taint["timeAdded"])
        return self._first_seen.setdefault((node, taint_key(taint)), self.clock.now())

    async def _evict(self, pod: Object) -> None:
        namespace, name = key_of(pod)
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": format_time(self.clock.now()),
        }
        patch = {"status": {"conditions": [condition]}}
        self.events.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {namespace}/{name}")
        mark = Write.patch(PODS, name, namespace, patch, subresource="status", patch_type=STRATEGIC_MERGE_PATCH)
        delete = Write.delete(PODS, name, namespace, uid=pod["metadata"]["uid"])
        for result in await self.client.write([mark, delete]):
            if isinstance(result, ApiError) and not isinstance(result, NotFound | Conflict):
                raise result
