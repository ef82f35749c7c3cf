"""The CRI's metrics of pods and containers on Docker: whose they are, and what only the engine knows of them."""

import os
import time
from collections.abc import Callable

from node.cgroups.series import add_container, add_networks
from node.cri_docker.cache import Cache
from node.cri_docker.records import ContainerRecord, SandboxRecord
from node.cri_docker.stats import Stats
from protos.cri.runtime.v1 import api_pb2 as cri


def pods(cache: Cache, stats: Stats, image_name: Callable[[str], str]) -> list[cri.PodSandboxMetrics]:
    """Of every ready sandbox: its network's, and its running containers'."""
    return [_pod(pod, cache, stats, image_name) for pod in cache.sandboxes() if pod.ready]


def _pod(pod: SandboxRecord, cache: Cache, stats: Stats, image_name: Callable[[str], str]) -> cri.PodSandboxMetrics:
    out, now = cri.PodSandboxMetrics(pod_sandbox_id=pod.id), time.time_ns()
    who = (pod.config.metadata.name, pod.config.metadata.namespace)
    if not pod.host_network:
        add_networks(out.metrics, pod.pid, (pod.id, pod.name, "", "POD", *who), now)
    for record in cache.containers(pod.id):
        if record.running and (cgroup := stats.cgroup(record)):
            metrics = out.container_metrics.add(container_id=record.id).metrics
            image = image_name(record.image_id) or record.image_id
            labels = (record.id, record.name, image, record.config.metadata.name, *who)
            add_container(metrics, cgroup, _figures(record, stats), labels, now)
    return out


def _figures(record: ContainerRecord, stats: Stats) -> dict[str, int]:
    disk, host = os.statvfs(stats.root_dir), record.host_config
    names = ("CpuPeriod", "CpuQuota", "CpuShares", "Memory", "MemoryReservation", "MemorySwap")
    limits = {f"spec_{name}": max(0, host.get(name) or 0) for name in names}
    return limits | {
        "inodes_free": disk.f_ffree,
        "inodes_total": disk.f_files,
        "fs_limit": disk.f_blocks * disk.f_frsize,
        "fs_usage": stats.layer_size(record.id),
        "started": record.started_at // 10**9,
    }
