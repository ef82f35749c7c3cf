"""Where a container's cgroup is, and what it says: v1 and v2. Reading a file is the fastest way to ask the kernel.

Sources: Documentation/admin-guide/cgroup-v1/*.rst and cgroup-v2.rst; what a figure means follows cAdvisor
(working set = usage less inactive file cache).
"""

from dataclasses import dataclass
from pathlib import Path

from node import namespaces


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The folders of one cgroup: by controller in v1; all in one, under "", in v2."""

    folders: dict[str, str]

    @property
    def v2(self) -> bool:
        return "" in self.folders and len(self.folders) == 1

    def path(self, controller: str) -> str:
        return self.folders.get("" if self.v2 else controller, "")

    def read(self, controller: str, name: str) -> str:
        """A file's text; "" where there is none: another kernel, or the container has just ended."""
        folder = self.path(controller)
        if not folder:
            return ""
        try:
            with open(f"{folder}/{name}", encoding="ascii") as file:
                return file.read()
        except OSError:
            return ""

    def number(self, controller: str, name: str) -> int:
        text = self.read(controller, name).strip()
        return int(text) if text.lstrip("-").isdigit() else 0

    def table(self, controller: str, name: str) -> dict[str, int]:
        rows = (line.split() for line in self.read(controller, name).splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}

    def processes(self) -> list[int]:
        return [int(pid) for pid in self.read("memory", "cgroup.procs").split()]


def cgroup_of(pid: int, engine_pid: int, root: str = "") -> Cgroup:
    """The cgroup of a process. ``root``: where the engine's file system is seen. OSError when it has ended."""
    folders: dict[str, str] = {}
    mount = f"{root}/sys/fs/cgroup"
    listed = Path(f"/proc/{pid}/cgroup")
    text = listed.read_text()
    if ":/.." in text:  # it is outside of this process's cgroup namespace: look from within the engine's
        text = namespaces.visit(f"/proc/{engine_pid}/ns/cgroup", namespaces.CGROUP, listed.read_text)
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folders[""] = f"{mount}{path}"
        for controller in filter(None, controllers.split(",")):
            folders[controller] = f"{mount}/{controller}{path}"
    if len(folders) > 1:  # v1, maybe with the v2 hierarchy beside it
        folders.pop("", None)
    return Cgroup(folders)


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes, nanoseconds and counts."""

    cpu_ns: int = 0
    memory: int = 0
    working_set: int = 0
    rss: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    memory_limit: int = 0
    swap: int = 0
    swap_limit: int = 0
    processes: int = 0


def usage(cgroup: Cgroup) -> Usage:
    return _usage_v2(cgroup) if cgroup.v2 else _usage_v1(cgroup)


def _usage_v1(cgroup: Cgroup) -> Usage:
    stat = cgroup.table("memory", "memory.stat")
    memory = cgroup.number("memory", "memory.usage_in_bytes")
    both = cgroup.number("memory", "memory.memsw.usage_in_bytes")
    return Usage(
        cpu_ns=cgroup.number("cpuacct", "cpuacct.usage"),
        memory=memory,
        working_set=max(0, memory - stat.get("total_inactive_file", 0)),
        rss=stat.get("total_rss", 0),
        page_faults=stat.get("total_pgfault", 0),
        major_page_faults=stat.get("total_pgmajfault", 0),
        memory_limit=_limit(cgroup.number("memory", "memory.limit_in_bytes")),
        swap=max(0, both - memory),
        swap_limit=_limit(cgroup.number("memory", "memory.memsw.limit_in_bytes")),
        processes=cgroup.number("pids", "pids.current"),
    )


def _usage_v2(cgroup: Cgroup) -> Usage:
    stat = cgroup.table("", "memory.stat")
    memory = cgroup.number("", "memory.current")
    return Usage(
        cpu_ns=cgroup.table("", "cpu.stat").get("usage_usec", 0) * 1000,
        memory=memory,
        working_set=max(0, memory - stat.get("inactive_file", 0)),
        rss=stat.get("anon", 0),
        page_faults=stat.get("pgfault", 0),
        major_page_faults=stat.get("pgmajfault", 0),
        memory_limit=_limit(cgroup.number("", "memory.max")),
        swap=cgroup.number("", "memory.swap.current"),
        swap_limit=_limit(cgroup.number("", "memory.swap.max")),
        processes=cgroup.number("", "pids.current"),
    )


def _limit(value: int) -> int:
    """0 for no limit; v1 says so with a number near 2**63."""
    return value if 0 < value < 1 << 62 else 0
