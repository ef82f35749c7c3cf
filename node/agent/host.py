"""What this machine is and how it does, read with psutil. One reading serves all nodes of a process."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Machine:
    """What does not change. Bytes."""

    cpus: int
    memory: int
    kernel: str
    os_image: str
    machine_id: str
    system_uuid: str
    boot_id: str
    architecture: str


@dataclass(frozen=True, slots=True)
class Filesystem:
    """Bytes and inodes; ``device`` tells file systems apart."""

    device: int
    total: int
    free: int
    inodes_total: int
    inodes_free: int


@dataclass(frozen=True, slots=True)
class Load:
    """What changes. Bytes; ``cpu_fraction`` is of all cores since the reading before."""

    time: float
    cpu_fraction: float
    cpu_seconds: float  # that all cores have worked since the machine started
    memory_available: int
    load1: float
    disk: Filesystem  # the one that the agent's root folder is on
    pids_total: int
    pids_free: int


def read_filesystem(folder: str) -> Filesystem:
    """The one that a folder is on. Raises OSError."""
    disk = os.statvfs(folder)
    sizes = (disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize)
    return Filesystem(os.stat(folder).st_dev, *sizes, disk.f_files, disk.f_favail)


def read_machine() -> Machine:
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    return Machine(
        cpus=psutil.cpu_count() or 1,
        memory=psutil.virtual_memory().total,
        kernel=platform.release(),
        os_image=release.get("PRETTY_NAME", platform.system()),
        machine_id=_read("/etc/machine-id") or _read("/var/lib/dbus/machine-id"),
        system_uuid=_read("/sys/class/dmi/id/product_uuid") or _read("/etc/machine-id"),
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


class HostReader:
    """Reads the load at most once in ``freshness`` seconds."""

    def __init__(self, root_dir: str, freshness: float = 1.0) -> None:
        self.machine = read_machine()
        self._root, self._freshness = root_dir, freshness
        self._last: Load | None = None
        psutil.cpu_percent(None)  # the first reading has nothing to compare with

    def load(self, fresh: bool = False) -> Load:
        if fresh or self._last is None or time.time() - self._last.time >= self._freshness:
            self._last = self._read()
        return self._last

    @property
    def root(self) -> str:
        return self._root if os.path.isdir(self._root) else "/"

    def _read(self) -> Load:
        most = int(_read("/proc/sys/kernel/pid_max") or 4_194_304)
        return Load(
            time=time.time(),
            cpu_fraction=psutil.cpu_percent(None) / 100,
            cpu_seconds=_busy_seconds(),
            memory_available=psutil.virtual_memory().available,
            load1=os.getloadavg()[0],
            disk=read_filesystem(self.root),
            pids_total=most,
            pids_free=most - _pid_count(),
        )


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _pid_count() -> int:
    """Threads of the machine: the second number of ``running/total`` in /proc/loadavg."""
    words = _read("/proc/loadavg").split()
    return int(words[3].split("/")[1]) if len(words) > 3 else 0


def has_apparmor() -> bool:
    try:
        return Path("/sys/module/apparmor/parameters/enabled").read_text().startswith("Y")
    except OSError:
        return False


def has_selinux() -> bool:
    return os.path.exists("/sys/fs/selinux/enforce")
