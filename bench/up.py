"""A local cluster of three nodes on Docker: start, idle memory and CPU, a node agent with pods, a pod's life.

Memory is told twice: RSS counts a page in every process that maps it, PSS shares it out among them; the processes of a
local cluster are forked from one and share what they import. Goals are DESIGN's.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from apimachinery import lifecycle, meta, scheme
from apimachinery.client.api import ApiClient
from apimachinery.config import load_kubeconfig
from apimachinery.errors import ApiError
from bench.report import Figure, show

_NAME, _PORT, _ETCD, _NETWORK = "kbench", 18443, 18479, "172.30.84.0/24"
_SETTLE, _IDLE = 10.0, 20.0  # seconds
_CONTROL_PLANE = ("etcd-0", "kubeto-apiserver", "kubeto-controller-manager", "kubeto-scheduler")
_AGENT = "kubeto-node-1"
_PODS, _ROUNDS = 30, 7
_OBEYS = 'trap "exit 0" TERM; sleep 100000 & wait'
_TICKS = os.sysconf("SC_CLK_TCK")


class Processes:
    """Some of the cluster's processes."""

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self._pids = [int((directory / "run" / f"{name}.pid").read_text()) for name in names]

    def memory(self, kind: str) -> float:
        """MB, summed; ``kind`` is Rss or Pss."""
        return sum(_rollup(pid)[kind] for pid in self._pids) / 1000

    def cpu_seconds(self) -> float:
        return sum(_cpu_seconds(pid) for pid in self._pids)


def _rollup(pid: int) -> dict[str, int]:
    """The kB of each line of proc(5)'s smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.partition(":")[0]: int(line.split()[1]) for line in lines}


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _kubeto(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "cli", *arguments], check=True, capture_output=True)


def _up(directory: Path) -> Figure:
    began = time.monotonic()
    place = [f"--dir={directory}", f"--name={_NAME}", f"--port={_PORT}", f"--etcd-port={_ETCD}"]
    _kubeto("up", "--mode=process", "--nodes=3", f"--node-network={_NETWORK}", *place)
    return Figure("kubeto up, 3 nodes on Docker: to all Ready", time.monotonic() - began, "s", 5)


async def _idle(processes: Processes, what: str, megabytes: float, percent: float) -> list[Figure]:
    """Memory and CPU of processes that have nothing to do."""
    await asyncio.sleep(_SETTLE)
    before, began = processes.cpu_seconds(), time.monotonic()
    await asyncio.sleep(_IDLE)
    used = (processes.cpu_seconds() - before) / (time.monotonic() - began) * 100
    return [
        Figure(f"{what}: memory, RSS", processes.memory("Rss"), "MB", megabytes),
        Figure(f"{what}: memory, PSS", processes.memory("Pss"), "MB"),
        Figure(f"{what}: CPU", used, "% of a core", percent),
    ]


def _pod(name: str) -> meta.Object:
    container = {"name": "main", "image": "kubeto/busybox:1", "command": ["sh", "-c", _OBEYS]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": "node-1", "containers": [container], "terminationGracePeriodSeconds": 5},
    }


def _is_ready(pod: meta.Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


async def _seen(client: ApiClient, name: str, since: str, *, gone: bool = False) -> None:
    """Until a watch from the resource version ``since`` on shows the pod Ready, or deleted."""
    watch = client.watch(scheme.PODS, "default", field_selector=f"metadata.name={name}", resource_version=since)
    async for event in watch:
        if event.type == "DELETED" if gone else event.object is not None and _is_ready(event.object):
            return


async def _now(client: ApiClient) -> str:
    return (await client.list(scheme.PODS, "default", limit=1)).resource_version


async def _fill(client: ApiClient) -> None:
    names, since = [f"idle-{number}" for number in range(_PODS)], await _now(client)
    for name in names:
        await client.create(scheme.PODS, _pod(name))
    async with asyncio.timeout(120):
        await asyncio.gather(*(_seen(client, name, since) for name in names))


async def _pod_life(client: ApiClient) -> list[Figure]:
    """The medians of several pods, one after the other."""
    starts, ends = [], []
    for number in range(_ROUNDS):
        name, since, began = f"pod-{number}", await _now(client), time.monotonic()
        await client.create(scheme.PODS, _pod(name))
        await _seen(client, name, since)
        starts.append(time.monotonic() - began)
        since, began = await _now(client), time.monotonic()
        await client.delete(scheme.PODS, name, "default")
        await _seen(client, name, since, gone=True)
        ends.append(time.monotonic() - began)
    return [
        Figure("pod create to Ready, on Docker", statistics.median(starts), "s", 0.6),
        Figure("pod delete to gone, obeying SIGTERM", statistics.median(ends), "s", 0.7),
    ]


async def _measure(directory: Path) -> list[Figure]:
    client = await ApiClient.connect(load_kubeconfig(str(directory / "admin.conf")), user_agent="bench")
    try:
        await _account(client)
        figures = await _idle(Processes(directory, _CONTROL_PLANE), "control plane with etcd, idle", 400, 2)
        figures += await _pod_life(client)
        await _fill(client)
        return figures + await _idle(Processes(directory, [_AGENT]), f"node agent, idle with {_PODS} pods", 80, 1)
    finally:
        await client.close()


async def _account(client: ApiClient) -> None:
    """Pods are refused before their namespace has its service account."""
    while True:
        try:
            await client.get(scheme.SERVICE_ACCOUNTS, "default", "default")
        except ApiError:
            await asyncio.sleep(0.1)
        else:
            return


def run() -> list[Figure]:
    """All figures of a local cluster. Needs root and Docker."""
    figures: list[Figure] = []

    async def measure() -> None:
        figures.extend(await _measure(directory))

    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "cluster"
        try:
            figures.append(_up(directory))
            lifecycle.run(measure)
        finally:
            _kubeto("down", "--clean", f"--dir={directory}")
    return figures


if __name__ == "__main__":
    show(run())
