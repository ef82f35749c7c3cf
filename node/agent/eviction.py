"""Evicts pods from a node that is short of memory, disk or processes, and pods that outgrow their storage limits.

One pod a round, the worst first; a round follows only when the last evicted one has stopped. Before any
pod of a node that is short of disk goes what nobody needs: containers of pods that have ended, then images.
Source: kubelet ``eviction/eviction_manager.go``.
"""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Final, Protocol

from apimachinery.logging import get_logger
from node.agent.disk_use import below
from node.agent.eviction_plan import Use, evicted, has_storage_limits, over_local_storage, ranked
from node.agent.host import Filesystem, HostReader
from node.agent.image_gc import ImageFs, ImageGc
from node.agent.node_services import NodeServices
from node.agent.paths import NodePaths
from node.agent.pod_state import Object, pod_key, uid_of
from node.agent.pressure import DISK, Pressure, Seen, Threshold
from node.agent.stats import StatsReader
from node.agent.status import Verdict
from node.cri.runtime import RuntimeFault

_log = get_logger(__name__)
_INTERVAL_SECONDS: Final = 10.0


class EvictablePods(Protocol):
    """What the manager needs of the node's pods."""

    def active(self) -> list[Object]: ...
    def stopped(self, uid: str) -> bool: ...
    def end(self, uid: str, verdict: Verdict) -> None: ...
    async def remove_dead(self) -> None: ...


class EvictionManager:
    """``run`` it; ``facts.pressure`` holds the conditions that are true, and ``changed`` hears when they change."""

    def __init__(
        self,
        services: NodeServices,
        pods: EvictablePods,
        host: HostReader,
        images: ImageGc,
        changed: Callable[[], None],
    ) -> None:
        self._services, self._pods, self._host, self._images, self._changed = services, pods, host, images, changed
        self._settings, self._image_fs = services.settings, ImageFs(services.runtime, host)
        self._stats = StatsReader(self._settings.node_name, services.runtime, host)
        self._pressure = Pressure(self._settings.eviction_thresholds, self._settings.eviction_transition)
        self._leaving = ""

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except (RuntimeFault, OSError) as error:
                _log.warning("Eviction could not look, trying again", error=str(error))
            await asyncio.sleep(_INTERVAL_SECONDS)

    async def look(self) -> None:
        """One round."""
        seen, apart = await self._observe()
        before, facts = self._services.facts.pressure, self._services.facts
        facts.pressure = self._pressure.look(seen, time.monotonic())
        if facts.pressure != before:
            self._changed()
        if await self._outgrown(apart) or not self._pressure.met:
            return
        worst = self._pressure.met[0]
        self._services.node_event("Warning", "EvictionThresholdMet", f"Attempting to reclaim {worst.resource}")
        if await self._reclaim(worst, apart):
            seen, _ = await self._observe()
            if self._pressure.content(seen):
                return
        await self._evict_worst(worst, seen[worst.signal], apart)

    async def _observe(self) -> tuple[dict[str, Seen], bool]:
        """What there is of all signals; whether images are on a file system of their own."""
        load, machine = self._host.load(fresh=True), self._host.machine
        images, apart = await self._image_fs.read()
        seen = {"memory.available": Seen(load.memory_available, machine.memory)}
        for name, fs in (("nodefs", load.disk), ("imagefs", images)):
            seen |= _of(name, fs)
        return seen | {"pid.available": Seen(load.pids_free, load.pids_total)}, apart

    async def _reclaim(self, worst: Threshold, apart: bool) -> bool:
        """Whether something could be done before a pod has to go."""
        if worst.condition != DISK or (apart and worst.signal.startswith("nodefs")):
            return False
        await self._pods.remove_dead()
        await self._images.remove_unused()
        return True

    async def _outgrown(self, apart: bool) -> bool:
        """Evict the pods that use more storage than they may; whether there were any."""
        limited = [p for p in self._pods.active() if has_storage_limits(p)]
        uses = await self._uses(limited)
        over = [(p, v) for p in limited if (v := over_local_storage(p, uses.get(uid_of(p), Use()), apart))]
        for pod, verdict in over:
            self._evict(pod, verdict)
        return bool(over)

    async def _evict_worst(self, worst: Threshold, seen: Seen, apart: bool) -> None:
        active = self._pods.active()
        if not self._pods.stopped(self._leaving):
            return
        uses = await self._uses(active)
        for pod in ranked(active, uses, worst, apart)[:1]:
            self._leaving = uid_of(pod)
            self._evict(pod, evicted(pod, worst, seen, uses, self._settings.eviction_max_grace))

    def _evict(self, pod: Object, verdict: Verdict) -> None:
        _log.warning("Evicting pod", pod=pod_key(pod), why=verdict.message)
        self._services.event(pod, "Warning", verdict.reason, verdict.message)
        self._pods.end(uid_of(pod), verdict)

    async def _uses(self, pods: list[Object]) -> dict[str, Use]:
        if not pods:
            return {}
        summary = await self._stats.summary(node_only=False)
        found = {p["podRef"]["uid"]: p for p in summary["pods"]}
        paths, nothing = self._services.paths, {"containers": list[Object]()}
        return {uid_of(p): await asyncio.to_thread(_use, found.get(uid_of(p), nothing), p, paths) for p in pods}


def _of(name: str, fs: Filesystem) -> dict[str, Seen]:
    return {
        f"{name}.available": Seen(fs.free, fs.total),
        f"{name}.inodesFree": Seen(fs.inodes_free, fs.inodes_total),
    }


def _use(stats: Object, pod: Object, paths: NodePaths) -> Use:
    containers, meta, folder = stats["containers"], pod["metadata"], paths.pod(uid_of(pod))
    logs = paths.pod_logs(meta.get("namespace", ""), meta["name"], uid_of(pod))
    volumes = {
        v["name"]: below(os.path.join(folder, "volumes", "kubernetes.io~empty-dir", v["name"])).bytes
        for v in pod["spec"].get("volumes") or ()
        if v.get("emptyDir") is not None and v["emptyDir"].get("medium") != "Memory"
    }
    return Use(
        containers={c["name"]: c["memory"]["workingSetBytes"] for c in containers},
        layers={c["name"]: c["rootfs"]["usedBytes"] for c in containers},
        logs={c["name"]: below(os.path.join(logs, c["name"])).bytes for c in containers},
        volumes=volumes,
    )
