"""Usage of containers and sandboxes, from their cgroups and network namespaces.

The engine's own figures take a second a container; the kernel's files take a fraction of a millisecond. Only the
size of a writable layer has to be walked for: that happens in the background, at most once a minute a container.
"""

import asyncio
import os
import time
from dataclasses import dataclass, field

from node.cgroups.cgroup import Cgroup, Usage, cgroup_of, usage
from node.cgroups.figures import interfaces
from node.cri_docker.cache import Cache
from node.cri_docker.host import Host
from node.cri_docker.records import ContainerRecord, SandboxRecord, identity_of
from protos.cri.runtime.v1 import api_pb2 as cri

_LAYER_SECONDS = 60.0
_MIN_RATE_NS = 100_000_000
"""A rate over less than this says nothing: the one before is told again."""


@dataclass(slots=True)
class _Layer:
    taken: float = float("-inf")
    size: int = 0
    inodes: int = 0


@dataclass(slots=True)
class _Rate:
    time: int = 0
    cpu: int = 0
    nano_cores: int = 0


@dataclass(slots=True)
class _Known:
    """What is kept of one container between two questions."""

    cgroup: Cgroup
    layer: _Layer = field(default_factory=_Layer)
    rate: _Rate = field(default_factory=_Rate)


class Stats:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._cache: Cache = host.cache
        self._known: dict[str, _Known] = {}
        self._walk: asyncio.Task[None] | None = None

    def container(self, record: ContainerRecord) -> cri.ContainerStats:
        stats = cri.ContainerStats(attributes=cri.ContainerAttributes(**identity_of(record)))
        if known := self._of(record.id, record.pid if record.running else 0):
            now, used = time.time_ns(), usage(known.cgroup)
            _fill_cpu(stats.cpu, now, used, known.rate)
            _fill_memory(stats.memory, now, used)
            stats.swap.timestamp = now
            stats.swap.swap_usage_bytes.value = used.swap
            stats.swap.swap_available_bytes.value = max(0, used.swap_limit - used.memory_limit - used.swap)
            self._fill_layer(stats.writable_layer, now, known.layer)
        return stats

    def sandbox(self, record: SandboxRecord) -> cri.PodSandboxStats:
        """The pod's sum, its network and its containers."""
        stats = cri.PodSandboxStats(attributes=cri.PodSandboxAttributes(**identity_of(record)))
        containers = [r for r in self._cache.containers(record.id) if r.running]
        stats.linux.containers.extend(self.container(r) for r in containers)
        known = self._of(record.id, record.pid if record.ready else 0)
        if known is None:
            return stats
        now = time.time_ns()
        own = usage(known.cgroup)
        parts = [own, *(usage(k.cgroup) for r in containers if (k := self._known.get(r.id)))]
        total = Usage(*(sum(getattr(part, name) for part in parts) for name in Usage.__slots__))
        _fill_cpu(stats.linux.cpu, now, total, known.rate)
        _fill_memory(stats.linux.memory, now, total)
        stats.linux.process.timestamp = now
        stats.linux.process.process_count.value = total.processes
        if not record.host_network:
            _fill_network(stats.linux.network, now, record.pid)
        return stats

    @property
    def root_dir(self) -> str:
        """Where the engine's layers are, as this process sees it."""
        return self._host.root() + self._host.limits().root_dir

    def cgroup(self, record: ContainerRecord) -> Cgroup | None:
        known = self._of(record.id, record.pid)
        return known.cgroup if known else None

    def layer_size(self, identity: str) -> int:
        known = self._known.get(identity)
        return known.layer.size if known else 0

    def refresh_layers(self) -> None:
        """Measure writable layers in the background, those whose figures are old; never two walks at once."""
        self._known = {i: k for i, k in self._known.items() if self._cache.state_of(i) is not None}
        due = time.monotonic() - _LAYER_SECONDS
        if self._walk is None and any(known.layer.taken < due for known in self._known.values()):
            self._walk = asyncio.get_running_loop().create_task(self._measure_layers(due), name="layers")
            self._walk.add_done_callback(self._walked)

    def _walked(self, task: "asyncio.Task[None]") -> None:
        self._walk = None
        if not task.cancelled():
            task.exception()

    async def _measure_layers(self, due: float) -> None:
        root = self._host.root()
        for record in self._cache.containers():
            known = self._known.get(record.id)
            if known and record.upper_dir and known.layer.taken < due:
                size, inodes = await asyncio.to_thread(_measure, root + record.upper_dir)
                known.layer = _Layer(time.monotonic(), size, inodes)

    def _of(self, identity: str, pid: int) -> _Known | None:
        if not pid:
            return None
        known = self._known.get(identity)
        if known is None:
            try:
                known = self._known[identity] = _Known(cgroup_of(pid, self._host.engine.peer_pid(), self._host.root()))
            except OSError:
                return None  # it has just ended
        return known

    def _fill_layer(self, out: cri.FilesystemUsage, now: int, layer: _Layer) -> None:
        out.timestamp = now
        out.fs_id.mountpoint = self._host.limits().root_dir
        out.used_bytes.value = layer.size
        out.inodes_used.value = layer.inodes


def _fill_cpu(out: cri.CpuUsage, now: int, used: Usage, rate: _Rate) -> None:
    passed = now - rate.time
    if rate.time == 0 or used.cpu_ns < rate.cpu:
        rate.time, rate.cpu, rate.nano_cores = now, used.cpu_ns, 0
    elif passed >= _MIN_RATE_NS:
        rate.nano_cores = (used.cpu_ns - rate.cpu) * 1_000_000_000 // passed
        rate.time, rate.cpu = now, used.cpu_ns
    out.timestamp = now
    out.usage_core_nano_seconds.value = used.cpu_ns
    out.usage_nano_cores.value = rate.nano_cores


def _fill_memory(out: cri.MemoryUsage, now: int, used: Usage) -> None:
    out.timestamp = now
    out.usage_bytes.value = used.memory
    out.working_set_bytes.value = used.working_set
    out.rss_bytes.value = used.rss
    out.page_faults.value = used.page_faults
    out.major_page_faults.value = used.major_page_faults
    if used.memory_limit:
        out.available_bytes.value = max(0, used.memory_limit - used.working_set)


def _fill_network(out: cri.NetworkUsage, now: int, pid: int) -> None:
    out.timestamp = now
    for name, row in interfaces(pid).items():
        told = ("rx_bytes", "rx_errors", "tx_bytes", "tx_errors")
        interface = cri.NetworkInterfaceUsage(name=name, **{c: cri.UInt64Value(value=row[c]) for c in told})
        if name == "eth0":
            out.default_interface.CopyFrom(interface)
        else:
            out.interfaces.append(interface)


def _measure(folder: str) -> tuple[int, int]:
    """(bytes on disk, inodes) below a folder; what vanishes meanwhile does not count."""
    size = inodes = 0
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    stat = entry.stat(follow_symlinks=False)
                    size, inodes = size + stat.st_blocks * 512, inodes + 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except OSError:
            continue
    return size, inodes
