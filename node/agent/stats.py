"""The stats summary of a node: ``stats.k8s.io/v1alpha1``, from the runtime's stats and psutil.

Source: ``k8s.io/kubelet/pkg/apis/stats/v1alpha1/types.go``.
"""

import time
from collections.abc import Iterable

import psutil

from apimachinery.logging import get_logger
from node.agent.host import HostReader
from node.agent.pod_state import CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID, Object
from node.agent.times import rfc3339
from node.agent.volume_stats import VolumeReader
from node.cri.runtime import Runtime, RuntimeFault
from protos.cri.runtime.v1 import api_pb2 as pb

_log = get_logger(__name__)


class CpuRates:
    """Turns cumulated CPU time into nanocores by comparing with the reading before."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int]] = {}

    def rate(self, key: str, timestamp: int, cumulated: int) -> int:
        """Nanoseconds of CPU a second; 0 at the first reading."""
        before = self._last.get(key)
        if before is not None and timestamp <= before[0]:
            return 0
        self._last[key] = (timestamp, cumulated)
        if before is None:
            return 0
        return max(0, (cumulated - before[1]) * 1_000_000_000 // (timestamp - before[0]))

    def keep(self, keys: Iterable[str]) -> None:
        """Forget all others."""
        kept = set(keys)
        self._last = {k: v for k, v in self._last.items() if k in kept}


class StatsReader:
    """The stats of one node."""

    def __init__(self, node: str, runtime: Runtime, host: HostReader, volumes: VolumeReader | None = None) -> None:
        """``volumes`` gives what is known of volumes by the uids of their pods."""
        self._node, self._runtime, self._host, self._volumes = node, runtime, host, volumes
        self._rates = CpuRates()

    async def summary(self, node_only: bool) -> Object:
        pods = [] if node_only else await self._pods()
        volumes = await self._volumes() if self._volumes is not None and pods else {}
        for pod in pods:
            if found := volumes.get(pod["podRef"]["uid"]):
                pod["volume"] = found
        return {"node": self._node_stats(), "pods": pods}

    def _node_stats(self) -> Object:
        load, machine, now = self._host.load(), self._host.machine, rfc3339(time.time())
        used = machine.memory - load.memory_available
        return {
            "nodeName": self._node,
            "startTime": rfc3339(psutil.boot_time()),
            "cpu": {
                "time": now,
                "usageNanoCores": int(load.cpu_fraction * machine.cpus * 1e9),
                "usageCoreNanoSeconds": int(load.cpu_seconds * 1e9),
            },
            "memory": {
                "time": now,
                "availableBytes": load.memory_available,
                "usageBytes": used,
                "workingSetBytes": used,
            },
            "fs": {
                "time": now,
                "availableBytes": load.disk.free,
                "capacityBytes": load.disk.total,
                "usedBytes": load.disk.total - load.disk.free,
            },
        }

    async def _pods(self) -> list[Object]:
        try:
            stats = await self._runtime.list_container_stats({})
        except RuntimeFault as fault:
            _log.warning("The runtime gives no stats", error=str(fault))
            return []
        pods: dict[str, Object] = {}
        for item in stats:
            if not item.cpu.timestamp:  # it does not run any more
                continue
            labels = item.attributes.labels
            uid = labels.get(POD_UID, "")
            about = {"name": labels.get(POD_NAME, ""), "namespace": labels.get(POD_NAMESPACE, ""), "uid": uid}
            pod = pods.setdefault(uid, {"podRef": about, "startTime": rfc3339(time.time()), "containers": []})
            pod["containers"].append(self._container(item))
        self._rates.keep(item.attributes.id for item in stats)
        for uid, more in (await self._sandboxes()).items():
            if uid in pods:
                pods[uid] |= more
        return [_summed(pod) for pod in pods.values()]

    async def _sandboxes(self) -> dict[str, Object]:
        """By the pods' uids: network and processes, from runtimes that tell them."""
        try:
            found = await self._runtime.list_pod_sandbox_stats({})
        except RuntimeFault as fault:
            _log.debug("The runtime gives no stats of sandboxes", error=str(fault))
            return {}
        return {item.attributes.labels.get(POD_UID, ""): _sandbox(item) for item in found}

    def _container(self, item: pb.ContainerStats) -> Object:
        cumulated = item.cpu.usage_core_nano_seconds.value
        rate = item.cpu.usage_nano_cores.value if item.cpu.HasField("usage_nano_cores") else 0
        rate = rate or self._rates.rate(item.attributes.id, item.cpu.timestamp, cumulated)
        moment = rfc3339(item.cpu.timestamp / 1e9)
        working_set = item.memory.working_set_bytes.value
        return {
            "name": item.attributes.labels.get(CONTAINER_NAME) or item.attributes.metadata.name,
            "startTime": moment,
            "cpu": {"time": moment, "usageNanoCores": rate, "usageCoreNanoSeconds": cumulated},
            "memory": {
                "time": moment,
                "usageBytes": item.memory.usage_bytes.value or working_set,
                "workingSetBytes": working_set,
                "rssBytes": item.memory.rss_bytes.value,
            },
            "rootfs": {"time": moment, "usedBytes": item.writable_layer.used_bytes.value},
        }


def _sandbox(item: pb.PodSandboxStats) -> Object:
    out: Object = {}
    if item.linux.network.timestamp:
        default = item.linux.network.default_interface
        out["network"] = {
            "time": rfc3339(item.linux.network.timestamp / 1e9),
            "name": default.name,
            "rxBytes": default.rx_bytes.value,
            "rxErrors": default.rx_errors.value,
            "txBytes": default.tx_bytes.value,
            "txErrors": default.tx_errors.value,
        }
    if item.linux.process.process_count.value:
        out["process_stats"] = {"process_count": item.linux.process.process_count.value}
    return out


def _summed(pod: Object) -> Object:
    """With the pod's own figures: the sum of its containers'."""
    containers = pod["containers"]
    now = rfc3339(time.time())
    cpu = {key: sum(c["cpu"][key] for c in containers) for key in ("usageNanoCores", "usageCoreNanoSeconds")}
    memory = {key: sum(c["memory"][key] for c in containers) for key in ("usageBytes", "workingSetBytes", "rssBytes")}
    return pod | {"cpu": {"time": now} | cpu, "memory": {"time": now} | memory}
