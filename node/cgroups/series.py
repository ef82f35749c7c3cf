"""What cAdvisor would tell of pods and containers, as the CRI's metrics (KEP-2371), from cgroups and /proc.

``SERIES`` is all there is to a metric: what it is called, what its labels are, where its value comes from. Values of
the CRI are whole numbers: times are full seconds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node.cgroups.cgroup import Cgroup
from node.cgroups.figures import device_rows, figures, interfaces
from protos.cri.runtime.v1 import api_pb2 as cri

LABELS = ("id", "name", "image", "container", "pod", "namespace")
C, G = cri.COUNTER, cri.GAUGE
Values = Iterable[tuple[tuple[str, ...], int]]
"""(values of the labels beyond ``LABELS``, value)."""
Out = Any
"""The repeated field of a message that takes ``cri.Metric``."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One container looked at once."""

    figures: Mapping[str, int]
    devices: Mapping[str, Iterable[tuple[str, str, int]]]
    """``bytes`` and ``operations`` of block devices: (major:minor, operation, count)."""


@dataclass(frozen=True, slots=True)
class Series:
    kind: cri.MetricType
    help: str
    read: Callable[[Sample], Values]
    labels: tuple[str, ...] = ()


def _figure(kind: cri.MetricType, name: str, text: str, *labels: tuple[str, str]) -> Series:
    """One figure; ``labels``: names and constant values of further labels, as cAdvisor has them."""
    values = tuple(value for _, value in labels)

    def read(sample: Sample) -> Values:
        return [(values, sample.figures[name])] if name in sample.figures else []

    return Series(kind, text, read, tuple(key for key, _ in labels))


def _devices(what: str, operation: str, text: str) -> Series:
    def read(sample: Sample) -> Values:
        return [((device,), count) for device, done, count in sample.devices[what] if done == operation]

    return Series(C, text, read, ("device",))


def _device_usage(sample: Sample) -> Values:
    return [((dev, *dev.split(":"), operation), n) for dev, operation, n in sample.devices["bytes"]]


def _failures(sample: Sample) -> Values:
    for kind in ("pgfault", "pgmajfault"):
        for scope, figure in (("container", kind), ("hierarchy", f"total_{kind}")):
            yield (kind, scope), sample.figures[figure]


_ROOT = ("device", "root")
SERIES: Mapping[str, Series] = {
    "container_blkio_device_usage_total": Series(
        C, "Bytes read and written", _device_usage, ("device", "major", "minor", "operation")
    ),
    "container_cpu_cfs_periods_total": _figure(C, "periods", "Elapsed enforcement period intervals"),
    "container_cpu_cfs_throttled_periods_total": _figure(C, "throttled_periods", "Throttled period intervals"),
    "container_cpu_cfs_throttled_seconds_total": _figure(C, "throttled_seconds", "Time throttled"),
    "container_cpu_system_seconds_total": _figure(C, "system_seconds", "CPU time in the kernel"),
    "container_cpu_usage_seconds_total": _figure(C, "cpu_seconds", "CPU time", ("cpu", "total")),
    "container_cpu_user_seconds_total": _figure(C, "user_seconds", "CPU time in programs"),
    "container_file_descriptors": _figure(G, "descriptors", "Open file descriptors"),
    "container_fs_inodes_free": _figure(G, "inodes_free", "Free inodes", _ROOT),
    "container_fs_inodes_total": _figure(G, "inodes_total", "Inodes", _ROOT),
    "container_fs_limit_bytes": _figure(G, "fs_limit", "Bytes the container can use", _ROOT),
    "container_fs_reads_bytes_total": _devices("bytes", "Read", "Bytes read"),
    "container_fs_reads_total": _devices("operations", "Read", "Reads"),
    "container_fs_usage_bytes": _figure(G, "fs_usage", "Bytes the container uses", _ROOT),
    "container_fs_writes_bytes_total": _devices("bytes", "Write", "Bytes written"),
    "container_fs_writes_total": _devices("operations", "Write", "Writes"),
    "container_last_seen": _figure(G, "now", "When the container was last seen"),
    "container_memory_cache": _figure(G, "cache", "Bytes of page cache"),
    "container_memory_failcnt": _figure(C, "failcnt", "Times the memory limit was hit"),
    "container_memory_failures_total": Series(C, "Allocation failures", _failures, ("failure_type", "scope")),
    "container_memory_kernel_usage": _figure(G, "kernel", "Bytes of kernel memory"),
    "container_memory_mapped_file": _figure(G, "mapped_file", "Bytes of mapped files"),
    "container_memory_max_usage_bytes": _figure(G, "max_memory", "Most memory ever used"),
    "container_memory_rss": _figure(G, "rss", "Resident bytes"),
    "container_memory_swap": _figure(G, "swap", "Bytes in swap"),
    "container_memory_usage_bytes": _figure(G, "memory", "Bytes of memory, with caches"),
    "container_memory_working_set_bytes": _figure(G, "working_set", "Bytes of memory that cannot be given back"),
    "container_oom_events_total": _figure(C, "oom_kills", "Processes killed for want of memory"),
    **{
        f"container_pressure_{resource}_{word}_seconds_total": _figure(
            C, f"{resource}_{share}", f"Time {share} tasks waited for {resource}"
        )
        for resource in ("cpu", "io", "memory")
        for word, share in (("stalled", "full"), ("waiting", "some"))
    },
    "container_processes": _figure(G, "processes", "Processes"),
    "container_sockets": _figure(G, "sockets", "Open sockets"),
    "container_spec_cpu_period": _figure(G, "spec_CpuPeriod", "CPU period, microseconds"),
    "container_spec_cpu_quota": _figure(G, "spec_CpuQuota", "CPU quota, microseconds"),
    "container_spec_cpu_shares": _figure(G, "spec_CpuShares", "CPU shares"),
    "container_spec_memory_limit_bytes": _figure(G, "spec_Memory", "Memory limit"),
    "container_spec_memory_reservation_limit_bytes": _figure(G, "spec_MemoryReservation", "Memory reservation"),
    "container_spec_memory_swap_limit_bytes": _figure(G, "spec_MemorySwap", "Limit of memory and swap together"),
    "container_start_time_seconds": _figure(G, "started", "When the container was started"),
    "container_threads": _figure(G, "threads", "Threads"),
    "container_threads_max": _figure(G, "threads_max", "Most threads allowed; 0 for no limit"),
}
_NETWORK = {
    f"container_network_{way}_{what}": (prefix + column, text)
    for way, prefix, word in (("receive", "rx_", "received"), ("transmit", "tx_", "sent"))
    for what, column, text in (
        ("bytes_total", "bytes", f"Bytes {word}"),
        ("errors_total", "errors", f"Errors while packets were {word}"),
        ("packets_dropped_total", "dropped", f"Packets dropped while {word}"),
        ("packets_total", "packets", f"Packets {word}"),
    )
}


def descriptors() -> list[cri.MetricDescriptor]:
    found = [
        cri.MetricDescriptor(name=name, help=series.help, label_keys=[*LABELS, *series.labels])
        for name, series in SERIES.items()
    ]
    network = [
        cri.MetricDescriptor(name=name, help=text, label_keys=[*LABELS, "interface"])
        for name, (_, text) in _NETWORK.items()
    ]
    return [*found, *network]


def add_networks(metrics: Out, pid: int, labels: Sequence[str], now: int) -> None:
    """Those of the interfaces that a process sees. ``labels``: values of ``LABELS``; ``now``: nanoseconds."""
    counters = interfaces(pid)
    for name, (column, _) in _NETWORK.items():
        for interface, row in counters.items():
            metrics.add(name=name, timestamp=now, metric_type=C, label_values=[*labels, interface]).value.value = row[
                column
            ]


def add_container(metrics: Out, cgroup: Cgroup, more: dict[str, int], labels: Sequence[str], now: int) -> None:
    """``more``: the figures that the cgroup does not tell."""
    sample = Sample(figures(cgroup) | {"now": now // 10**9} | more, device_rows(cgroup))
    for name, series in SERIES.items():
        for further, value in series.read(sample):
            metrics.add(
                name=name, timestamp=now, metric_type=series.kind, label_values=[*labels, *further]
            ).value.value = value
