"""The rarer figures of a cgroup, by one set of names for v1 and v2: what only ``metrics`` asks for.

Sources: as in ``cgroups``; the names on the left follow cAdvisor's metrics.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from node.cgroups.cgroup import Cgroup, usage

_TICK = os.sysconf("SC_CLK_TCK")
_V1_DEVICES = {"bytes": "blkio.throttle.io_service_bytes", "operations": "blkio.throttle.io_serviced"}
_V2_DEVICES = {"bytes": {"rbytes": "Read", "wbytes": "Write"}, "operations": {"rios": "Read", "wios": "Write"}}

_COLUMNS = [
    f"{way}_{what}"
    for way, rest in (("rx", "fifo frame compressed multicast"), ("tx", "fifo colls carrier compressed"))
    for what in ("bytes packets errors dropped " + rest).split()
]
"""Of /proc/net/dev."""


def figures(cgroup: Cgroup) -> dict[str, int]:
    """Bytes, counts and seconds. A figure this kernel does not have is 0, pressure (v2 only) is absent."""
    found, used = _v2(cgroup) if cgroup.v2 else _v1(cgroup), usage(cgroup)
    descriptors, sockets = _open_files(cgroup.processes())
    return found | {
        "threads_max": cgroup.number("pids", "pids.max"),
        "cpu_seconds": used.cpu_ns // 10**9,
        "rss": used.rss,
        "swap": used.swap,
        "memory": used.memory,
        "working_set": used.working_set,
        "threads": used.processes,
        "processes": len(cgroup.processes()),
        "descriptors": descriptors,
        "sockets": sockets,
    }


def limits(cgroup: Cgroup) -> dict[str, int]:
    """What the cgroup is bounded to, under the engine API's names; 0 for no bound."""
    used = usage(cgroup)
    if cgroup.v2:
        quota, _, period = cgroup.read("", "cpu.max").partition(" ")
        cpu = (int(period or 0), int(quota) if quota.isdigit() else 0, _shares(cgroup.number("", "cpu.weight")))
    else:
        files = ("cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.shares")
        period_us, quota_us, shares = (max(0, cgroup.number("cpu", name)) for name in files)
        cpu = (period_us, quota_us, shares)
    names = ("CpuPeriod", "CpuQuota", "CpuShares", "Memory", "MemorySwap")
    return dict(zip(names, (*cpu, used.memory_limit, used.swap_limit), strict=True))


def _shares(weight: int) -> int:
    """Shares (2 to 262144) that became this weight (1 to 10000) on the way to v2."""
    return 2 + (weight - 1) * 262142 // 9999 if weight else 0


def _v1(cgroup: Cgroup) -> dict[str, int]:
    memory, cpu = cgroup.table("memory", "memory.stat"), cgroup.table("cpu", "cpu.stat")
    times = cgroup.table("cpuacct", "cpuacct.stat")
    return {
        "periods": cpu.get("nr_periods", 0),
        "throttled_periods": cpu.get("nr_throttled", 0),
        "throttled_seconds": cpu.get("throttled_time", 0) // 10**9,
        "user_seconds": times.get("user", 0) // _TICK,
        "system_seconds": times.get("system", 0) // _TICK,
        "cache": memory.get("total_cache", 0),
        "mapped_file": memory.get("total_mapped_file", 0),
        "failcnt": cgroup.number("memory", "memory.failcnt"),
        "kernel": cgroup.number("memory", "memory.kmem.usage_in_bytes"),
        "max_memory": cgroup.number("memory", "memory.max_usage_in_bytes"),
        "oom_kills": cgroup.table("memory", "memory.oom_control").get("oom_kill", 0),
        **{name: memory.get(name, 0) for name in ("pgfault", "pgmajfault", "total_pgfault", "total_pgmajfault")},
    }


def _v2(cgroup: Cgroup) -> dict[str, int]:
    memory, cpu = cgroup.table("", "memory.stat"), cgroup.table("", "cpu.stat")
    events = cgroup.table("", "memory.events")
    faults = {name: memory.get(name, 0) for name in ("pgfault", "pgmajfault")}
    return {
        "periods": cpu.get("nr_periods", 0),
        "throttled_periods": cpu.get("nr_throttled", 0),
        "throttled_seconds": cpu.get("throttled_usec", 0) // 10**6,
        "user_seconds": cpu.get("user_usec", 0) // 10**6,
        "system_seconds": cpu.get("system_usec", 0) // 10**6,
        "cache": memory.get("file", 0),
        "mapped_file": memory.get("file_mapped", 0),
        "failcnt": events.get("max", 0),
        "kernel": memory.get("kernel", 0),
        "max_memory": cgroup.number("", "memory.peak"),
        "oom_kills": events.get("oom_kill", 0),
        **faults,
        **{f"total_{name}": value for name, value in faults.items()},
        **_pressure(cgroup),
    }


def _pressure(cgroup: Cgroup) -> dict[str, int]:
    """``cpu_some``, ``io_full`` ...: seconds."""
    found = {}
    for resource in ("cpu", "io", "memory"):
        for line in cgroup.read("", f"{resource}.pressure").splitlines():
            share, _, rest = line.partition(" ")
            found[f"{resource}_{share}"] = int(rest.rpartition("total=")[2]) // 10**6
    return found


def device_rows(cgroup: Cgroup) -> dict[str, list[tuple[str, str, int]]]:
    """``bytes`` and ``operations``: (major:minor, Read or Write, count)."""
    if cgroup.v2:
        return {what: _v2_devices(cgroup, names) for what, names in _V2_DEVICES.items()}
    return {what: _v1_devices(cgroup, file) for what, file in _V1_DEVICES.items()}


def _v1_devices(cgroup: Cgroup, file: str) -> list[tuple[str, str, int]]:
    rows = (line.split() for line in cgroup.read("blkio", file).splitlines())
    return [(row[0], row[1], int(row[2])) for row in rows if len(row) == 3 and row[1] in ("Read", "Write")]


def _v2_devices(cgroup: Cgroup, names: dict[str, str]) -> list[tuple[str, str, int]]:
    found = []
    for line in cgroup.read("", "io.stat").splitlines():
        device, *fields = line.split()
        for name, value in (field.split("=") for field in fields):
            if name in names:
                found.append((device, names[name], int(value)))
    return found


def interfaces(pid: int) -> dict[str, dict[str, int]]:
    """Interface -> ``rx_bytes``, ``tx_errors`` ..., as any process of the namespace sees them: no need to enter it."""
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, _, rest = line.strip().partition(":")
        if name != "lo":
            found[name] = dict(zip(_COLUMNS, map(int, rest.split()), strict=True))
    return found


def _open_files(pids: Iterable[int]) -> tuple[int, int]:
    """(file descriptors, sockets among them)."""
    total = sockets = 0
    for pid in pids:
        with suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                total += 1
                with suppress(OSError):
                    sockets += os.readlink(entry).startswith("socket:")
    return total, sockets
