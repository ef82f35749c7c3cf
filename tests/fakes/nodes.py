"""Nodes that run every pod at once, in memory: what scheduler and node agents do, without them."""

import asyncio
from collections.abc import Callable

from apimachinery.errors import ApiError
from apimachinery.meta import Object, format_time
from apimachinery.scheme import NODES, PODS
from tests.fakes.cluster import Change, FakeCluster


class FakeNodes:
    """Binds pods round robin and makes them Running and Ready unless ``holds(pod)``; removes deleted ones."""

    def __init__(
        self, cluster: FakeCluster, *names: str, labels: Callable[[str], dict[str, str]] | None = None
    ) -> None:
        self._cluster = cluster
        self._names = names
        self._next = 0
        self.holds: Callable[[Object], bool] = lambda pod: False
        for name in names:
            metadata = {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels(name) if labels else {})}}
            cluster.create(NODES, {"metadata": metadata, "status": {}})
        cluster.on_change.append(self._changed)

    def _changed(self, change: Change) -> None:
        if change.kind is PODS and change.new is not None:
            asyncio.get_running_loop().call_soon(self.tend, change.new)

    def retry(self) -> None:
        """Look at every pod again, after ``holds`` was changed."""
        for pod in self._cluster.all(PODS):
            self.tend(pod)

    def tend(self, pod: Object) -> None:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        current = self._cluster.find(PODS, namespace, name)
        if current is None or current["metadata"]["uid"] != pod["metadata"]["uid"]:
            return
        try:
            self._step(current, namespace, name)
        except ApiError:
            return  # changed meanwhile: its next event comes

    def _step(self, pod: Object, namespace: str, name: str) -> None:
        if pod["metadata"].get("deletionTimestamp"):
            if not self.holds(pod) and pod["metadata"].get("deletionGracePeriodSeconds"):
                self._cluster.finish_deletion(namespace, name)
        elif not pod["spec"].get("nodeName"):
            self._cluster.bind(namespace, name, _pinned(pod) or self._names[self._next % len(self._names)])
            self._next += 1
        elif pod["status"].get("phase") == "Pending" and not self.holds(pod):
            self.set_ready(namespace, name)

    def set_ready(self, namespace: str, name: str, *, ready: bool = True) -> None:
        pod = self._cluster.get(PODS, namespace, name)
        now = format_time(self._cluster.clock.now())
        condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": now}
        others = [c for c in pod["status"].get("conditions") or () if c["type"] != "Ready"]
        self.set_status(pod, {**pod["status"], "phase": "Running", "conditions": [*others, condition]})

    def finish(self, namespace: str, name: str, *, exit_code: int = 0) -> None:
        """End its only container."""
        pod = self._cluster.get(PODS, namespace, name)
        state = {"terminated": {"exitCode": exit_code, "finishedAt": format_time(self._cluster.clock.now())}}
        phase = "Failed" if exit_code else "Succeeded"
        container = pod["spec"]["containers"][0]["name"]
        self.set_status(pod, {"phase": phase, "containerStatuses": [{"name": container, "state": state}]})

    def set_status(self, pod: Object, status: Object) -> None:
        self._cluster.update(PODS, {**pod, "status": status}, "status")


def _pinned(pod: Object) -> str:
    """The node that a DaemonSet's pod asks for."""
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name":
                return str(field["values"][0])
    return ""
