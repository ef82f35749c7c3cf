"""A node's ``/metrics`` and ``/metrics/probes``: of the process, and what is read of the node when it is asked for.

Source: kubelet ``metrics/collectors/volume_stats.go``, ``metrics/metrics.go``, ``prober/prober_manager.go``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from apimachinery.metrics import exposition
from node.agent.metrics import AgentMetrics
from node.agent.pod_state import POD_UID, Object, uid_of
from node.agent.pods import Pods
from node.agent.volume_stats import VolumeReader
from node.agent.volumes.manager import PLUGINS, kind_of
from node.cri.runtime import Runtime
from protos.cri.runtime.v1 import api_pb2 as pb

_VOLUME_FIGURES: Final = {
    "capacity_bytes": ("capacityBytes", "Capacity in bytes of the volume"),
    "available_bytes": ("availableBytes", "Number of available bytes in the volume"),
    "used_bytes": ("usedBytes", "Number of used bytes in the volume"),
    "inodes": ("inodes", "Maximum number of inodes in the volume"),
    "inodes_free": ("inodesFree", "Number of free inodes in the volume"),
    "inodes_used": ("inodesUsed", "Number of used inodes in the volume"),
}
_STATES: Final = {
    pb.CONTAINER_CREATED: "created",
    pb.CONTAINER_EXITED: "exited",
    pb.CONTAINER_RUNNING: "running",
    pb.CONTAINER_UNKNOWN: "unknown",
}


class NodeMetrics:
    """``volumes`` tells of volumes by the uids of their pods."""

    def __init__(
        self, node: str, runtime: Runtime, pods: Pods, metrics: AgentMetrics, volumes: VolumeReader | None
    ) -> None:
        self._node, self._runtime, self._pods, self._metrics, self._volumes = node, runtime, pods, metrics, volumes

    async def text(self) -> bytes:
        """What ``/metrics`` answers. Raises RuntimeFault."""
        sandboxes, containers = await self._runtime.list_pod_sandboxes({}), await self._runtime.list_containers({})
        running = {s.labels.get(POD_UID) for s in sandboxes if s.state == pb.SANDBOX_READY}
        states = Counter(_STATES[c.state] for c in containers)
        pods = self._pods.list()
        volumes = await self._volumes() if self._volumes is not None else {}
        return generate_latest(self._metrics.registry) + exposition(
            [
                _gauge("kubelet_node_name", "The node's name. The count is always 1.", ("node",), {(self._node,): 1}),
                _gauge("kubelet_running_pods", "Number of pods with a running pod sandbox", (), {(): len(running)}),
                _gauge("kubelet_running_containers", "Number of currently running containers", ("container_state",),
                       {(state,): states[state] for state in _STATES.values()}),
                _managed_volumes(pods, running),
                *volume_families(volumes.values()),
            ]
        )  # fmt: skip

    def probes(self) -> bytes:
        """What ``/metrics/probes`` answers."""
        labels = ("probe_type", "result", "container", "pod", "namespace", "pod_uid")
        about = "Cumulative number of a liveness, readiness or startup probe for a container by result."
        family = CounterMetricFamily("prober_probe", about, labels=labels)
        for pod, totals in self._pods.probe_totals():
            meta = pod["metadata"]
            for (container, kind, result), count in totals.items():
                where = (container, meta["name"], meta.get("namespace", ""), meta["uid"])
                family.add_metric((kind.capitalize(), result, *where), count)
        return exposition([family])


def volume_families(of_pods: Iterable[Iterable[Object]]) -> list[Metric]:
    """``kubelet_volume_stats_*`` of the claims in these stats; each claim once, however many pods have it."""
    claims = {(v["pvcRef"]["namespace"], v["pvcRef"]["name"]): v for pod in of_pods for v in pod if "pvcRef" in v}
    labels = ("namespace", "persistentvolumeclaim")
    return [
        _gauge(f"kubelet_volume_stats_{name}", about, labels, {claim: v.get(key, 0) for claim, v in claims.items()})
        for name, (key, about) in _VOLUME_FIGURES.items()
    ]


def _managed_volumes(pods: Iterable[Object], running: set[str | None]) -> Metric:
    """A pod has its sandbox only when its volumes are there."""
    found: Counter[tuple[str, ...]] = Counter()
    for pod in pods:
        for volume in pod["spec"].get("volumes") or ():
            kind = kind_of(volume)
            plugin = PLUGINS.get(kind) or f"kubernetes.io/{kind}"
            found[plugin, "desired_state_of_world"] += 1
            found[plugin, "actual_state_of_world"] += uid_of(pod) in running
    return _gauge("volume_manager_total_volumes", "Volumes in Volume Manager", ("plugin_name", "state"), found)


def _gauge(name: str, about: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
