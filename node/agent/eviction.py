"""Evicts pods from a node that is short of memory, disk or processes, and pods that outgrow their storage limits.

One pod a round, the worst first; a round follows only when the last evicted one has stopped. Images that nobody needs
go before any pod does. A condition stays for a while after the shortage has ended, or the scheduler would send the
next pod into the next shortage.
"""

import asyncio
import os
import time
from typing import Final, Protocol

from apimachinery.logging import get_logger
from node.agent import pressure
from node.agent.eviction_plan import Use, evicted, has_storage_limits, over_local_storage, ranked
from node.agent.host import HostReader
from node.agent.image_gc import ImageGc
from node.agent.node_services import NodeServices
from node.agent.paths import NodePaths
from node.agent.pod_state import Object, pod_key, uid_of
from node.agent.pressure import DISK, Shortage
from node.agent.stats import StatsReader
from node.agent.status import Verdict
from node.cri.runtime import RuntimeFault

_log = get_logger(__name__)
_INTERVAL_SECONDS: Final = 10.0
_TRANSITION_SECONDS: Final = 300.0  # upstream's --eviction-pressure-transition-period


class EvictablePods(Protocol):
    """What the manager needs of the node's pods."""

    def active(self) -> list[Object]: ...
    def end(self, uid: str, verdict: Verdict) -> None: ...


class EvictionManager:
    """``run`` it; ``facts.pressure`` holds the conditions that are true."""

    def __init__(
        self, services: NodeServices, pods: EvictablePods, host: HostReader, stats: StatsReader, images: ImageGc
    ) -> None:
        self._services, self._pods, self._host, self._stats, self._images = services, pods, host, stats, images
        self._thresholds = pressure.parse(services.settings.eviction_hard)
        self._last_short: dict[str, float] = {}
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
        short = self._shortages()
        if any(s.threshold.condition == DISK for s in short) and await self._images.remove_unused():
            short = self._shortages()
        self._note(short)
        active = self._pods.active()
        if self._leaving in {uid_of(p) for p in active}:
            return
        measured = active if short else [p for p in active if has_storage_limits(p)]
        if not measured:
            return
        uses = await self._uses(measured)
        over = [(p, v) for p in measured if (v := over_local_storage(p, uses.get(uid_of(p), Use())))]
        for pod, verdict in over:
            self._evict(pod, verdict)
        if short and not over:
            for pod in ranked(active, uses, short[0].threshold.resource)[:1]:
                self._leaving = uid_of(pod)
                self._evict(pod, evicted(pod, short[0], uses))

    def _shortages(self) -> list[Shortage]:
        return pressure.shortages(self._thresholds, self._host.load(fresh=True), self._host.machine)

    def _note(self, short: list[Shortage]) -> None:
        now = time.monotonic()
        for shortage in short:
            self._last_short[shortage.threshold.condition] = now
        self._last_short = {c: at for c, at in self._last_short.items() if now - at < _TRANSITION_SECONDS}
        self._services.facts.pressure = frozenset(self._last_short)

    def _evict(self, pod: Object, verdict: Verdict) -> None:
        _log.warning("Evicting pod", pod=pod_key(pod), why=verdict.message)
        self._services.event(pod, "Warning", verdict.reason, verdict.message)
        self._pods.end(uid_of(pod), verdict)

    async def _uses(self, pods: list[Object]) -> dict[str, Use]:
        summary = await self._stats.summary(node_only=False)
        found = {p["podRef"]["uid"]: p for p in summary["pods"]}
        paths, nothing = self._services.paths, {"containers": list[Object]()}
        return {uid_of(p): await asyncio.to_thread(_use, found.get(uid_of(p), nothing), p, paths) for p in pods}


def _use(stats: Object, pod: Object, paths: NodePaths) -> Use:
    containers, meta, folder = stats["containers"], pod["metadata"], paths.pod(uid_of(pod))
    logs = paths.pod_logs(meta.get("namespace", ""), meta["name"], uid_of(pod))
    disk = {c["name"]: c["rootfs"]["usedBytes"] + _size(os.path.join(logs, c["name"])) for c in containers}
    volumes = {
        v["name"]: _size(os.path.join(folder, "volumes", "kubernetes.io~empty-dir", v["name"]))
        for v in pod["spec"].get("volumes") or ()
        if v.get("emptyDir") is not None and v["emptyDir"].get("medium") != "Memory"
    }
    memory = {c["name"]: c["memory"]["workingSetBytes"] for c in containers}
    return Use(sum(memory.values()), memory, disk, volumes)


def _size(folder: str) -> int:
    """Bytes that the files below a folder take on disk."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(base, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
