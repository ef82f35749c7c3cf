"""CRI resources as the engine takes them, at creation and at an update. Pure."""

from typing import Any

from node.cri_docker.refusal import Refused
from node.cri_docker.security import EngineLimits
from protos.cri.runtime.v1 import api_pb2 as cri

_PIDS = "pids.max"


def host_config(resources: cri.LinuxContainerResources, limits: EngineLimits) -> dict[str, Any]:
    """HostConfig fields. Memory and swap are bytes; the OOM score is clamped to what this engine may set."""
    _refuse_unsupported(resources, limits)
    return update(resources) | {"OomScoreAdj": limits.clamp_oom_score(resources.oom_score_adj)}


def update(resources: cri.LinuxContainerResources) -> dict[str, Any]:
    """The fields of ``POST /containers/ID/update``; what is zero stays as it is."""
    fields: dict[str, Any] = {
        "CpuShares": resources.cpu_shares,
        "CpuPeriod": resources.cpu_period,
        "CpuQuota": resources.cpu_quota,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": resources.cpuset_mems,
        "Memory": resources.memory_limit_in_bytes,
        "MemorySwap": _memory_and_swap(resources),
    }
    if pids := resources.unified.get(_PIDS):
        fields["PidsLimit"] = -1 if pids == "max" else int(pids)
    return {name: value for name, value in fields.items() if value}


def unified_files(resources: cri.LinuxContainerResources) -> dict[str, str]:
    """cgroup v2 settings the engine has no field for: written to the container's cgroup after its start."""
    return {name: value for name, value in resources.unified.items() if name != _PIDS}


def _memory_and_swap(resources: cri.LinuxContainerResources) -> int:
    """Without a word on swap a container gets none; the engine by itself would double the memory."""
    return resources.memory_swap_limit_in_bytes or resources.memory_limit_in_bytes


def _refuse_unsupported(resources: cri.LinuxContainerResources, limits: EngineLimits) -> None:
    for limit in resources.hugepage_limits:
        if limit.limit:
            raise Refused(f"hugepage limits ({limit.page_size}) are not supported on Docker")
    for name in resources.unified:
        if "/" in name or name.startswith("."):
            raise Refused(f"{name!r} is no cgroup setting")
        if not limits.cgroup_v2 and name != _PIDS:
            raise Refused(f"{name!r} is a setting of cgroup v2, which this machine does not use")
