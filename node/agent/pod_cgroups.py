"""The cgroup that bounds a pod as a whole, for pods with resources of their own (KEP-2837).

Other pods have none: their containers' cgroups say all, and the runtime puts them where it likes. Needs a runtime of
the cgroupfs driver that sees the same cgroups as the agent. Source: kubelet ``cm/pod_container_manager_linux.go``.
"""

import os
from decimal import Decimal
from typing import Final

from node.agent.pod_state import Object, uid_of
from node.agent.resources import CPU_PERIOD_US, limits, quota, requests, shares

MOUNT: Final = "/sys/fs/cgroup"
_PARENT: Final = "/kubepods"


def parent(pod: Object) -> str:
    """As the runtime is told; "" of a pod without resources of its own."""
    return f"{_PARENT}/pod{uid_of(pod)}" if pod["spec"].get("resources") else ""


def ensure(pod: Object) -> None:
    """Make the pod's cgroup, with its limits of now. Raises OSError."""
    unified = os.path.exists(f"{MOUNT}/cgroup.controllers")
    if unified:
        os.makedirs(f"{MOUNT}{_PARENT}", exist_ok=True)
        for above in (MOUNT, f"{MOUNT}{_PARENT}"):
            _write(above, "cgroup.subtree_control", "+cpu +memory")
    for name, value in _settings(pod, unified).items():
        own = f"{MOUNT if unified else os.path.join(MOUNT, name.partition('.')[0])}{parent(pod)}"
        os.makedirs(own, exist_ok=True)
        _write(own, name, value)


def remove(uid: str) -> None:
    """Raises OSError while something runs in it."""
    for base in ("", *(f"/{name}" for name in (os.listdir(MOUNT) if os.path.isdir(MOUNT) else ()))):
        if os.path.isdir(folder := f"{MOUNT}{base}{_PARENT}/pod{uid}"):
            os.rmdir(folder)


def _settings(pod: Object, unified: bool) -> dict[str, str]:
    asked, most = requests(pod["spec"]), limits(pod["spec"])
    weight, cores = shares(asked.get("cpu", Decimal(0))), quota(most.get("cpu", Decimal(0)))
    memory = int(most["memory"]) if "memory" in most else None
    if unified:
        return {
            "cpu.weight": str(1 + (weight - 2) * 9999 // 262142),
            "cpu.max": f"{cores or 'max'} {CPU_PERIOD_US}",
            "memory.max": "max" if memory is None else str(memory),
        }
    return {
        "cpu.shares": str(weight),
        "cpu.cfs_period_us": str(CPU_PERIOD_US),
        "cpu.cfs_quota_us": str(cores or -1),
        "memory.limit_in_bytes": str(-1 if memory is None else memory),
    }


def _write(folder: str, name: str, value: str) -> None:
    with open(os.path.join(folder, name), "w", encoding="ascii") as file:
        file.write(value)
