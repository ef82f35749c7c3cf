"""What this engine can do, found out instead of assumed: its capabilities, its cgroups, its runtimes.

The engine may live in other namespaces than this process (a node in a container with ``pid: host``): its files
are then reached through ``/proc/PID/root`` of the engine itself.
"""

import os
import stat
from pathlib import Path

from node.cri_docker.engine import Engine
from node.cri_docker.security import EngineLimits

# linux/capability.h, in the order of their bits.
_CAPABILITIES = (  # noqa: SIM905
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()
# The runtime makes these itself, from the OCI specification.
_OCI_DEVICES = frozenset({"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"})


async def read_limits(engine: Engine) -> EngineLimits:
    info = await engine.get("/info")
    held = capabilities(Path(f"/proc/{engine.peer_pid()}/status").read_text())
    security = {option.split(",")[0].removeprefix("name=") for option in info.get("SecurityOptions") or ()}
    full = set(_CAPABILITIES[: _last_capability() + 1])
    known = len(_CAPABILITIES) if _major(info["ServerVersion"]) >= 23 else _CAPABILITIES.index("AUDIT_READ") + 1
    return EngineLimits(
        capabilities=frozenset(held.intersection(_CAPABILITIES[:known])),
        can_privileged=held >= full,
        min_oom_score=-1000 if "SYS_RESOURCE" in held else 0,
        cgroup_v2=info.get("CgroupVersion") == "2",
        apparmor="apparmor" in security,
        seccomp="seccomp" in security,
        runtimes=tuple(sorted(info.get("Runtimes") or ())),
        devices=tuple(device_files(Path(engine_root(engine.peer_pid()) + "/dev"))),
        root_dir=info["DockerRootDir"],
        version=info["ServerVersion"],
        cgroup_driver=info.get("CgroupDriver") or "cgroupfs",
    )


def capabilities(status: str) -> set[str]:
    """The bounding set in a ``/proc/PID/status``."""
    line = next(line for line in status.splitlines() if line.startswith("CapBnd:"))
    bits = int(line.split()[1], 16)
    return {name for bit, name in enumerate(_CAPABILITIES) if bits >> bit & 1}


def device_files(folder: Path) -> list[str]:
    """Paths under /dev of the character and block devices directly in it."""
    found = []
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        mode = entry.stat(follow_symlinks=False).st_mode
        if entry.name not in _OCI_DEVICES and (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            found.append(f"/dev/{entry.name}")
    return found


def engine_root(pid: int) -> str:
    """Where this process sees the engine's file system: "" when they share one. OSError when the engine is gone.

    Mount namespaces are compared, not roots: ``ip netns exec`` alone hides the cgroups behind a /sys of its own.
    """
    try:
        same = os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    except PermissionError:  # init, for an engine started by its socket: nothing better can be known
        return ""
    return "" if same else f"/proc/{pid}/root"


def _major(version: str) -> int:
    """Engines before 23 refuse the kernel's newest capabilities as unknown."""
    digits = version.split(".")[0]
    return int(digits) if digits.isdigit() else 0


def _last_capability() -> int:
    return int(Path("/proc/sys/kernel/cap_last_cap").read_text())
