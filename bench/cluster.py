"""Local clusters to measure on, what their processes use, and pods as a watch sees them."""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from apimachinery import lifecycle, meta, scheme
from apimachinery.client.api import ApiClient, Write
from apimachinery.config import load_kubeconfig
from apimachinery.errors import ApiError

_NAME, _PORT, _ETCD, _NETWORK = "kbench", 18443, 18479, "172.30.84.0/24"
_WITHIN = 300.0  # seconds, for all pods of a step
_OBEYS = 'trap "exit 0" TERM; sleep 100000 & wait'
_TICKS = os.sysconf("SC_CLK_TCK")
IMAGE = "kubeto/busybox:1"

T = TypeVar("T")


def kubeto(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "cli", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def running(*options: str) -> Iterator[Path]:
    """The folder of a cluster in process mode that was started with these options of ``kubeto up``."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "cluster"
        place = [f"--dir={directory}", f"--name={_NAME}", f"--port={_PORT}", f"--etcd-port={_ETCD}"]
        try:
            kubeto("up", "--mode=process", f"--node-network={_NETWORK}", *place, *options)
            yield directory
        finally:
            kubeto("down", "--clean", f"--dir={directory}")


def ask(directory: Path, measure: Callable[[ApiClient], Awaitable[T]]) -> T:
    """What ``measure`` finds out with a client of the cluster."""
    found: list[T] = []

    async def main() -> None:
        client = await ApiClient.connect(load_kubeconfig(str(directory / "admin.conf")), user_agent="bench")
        try:
            await _account(client)
            found.append(await measure(client))
        finally:
            await client.close()

    lifecycle.run(main)
    return found[0]


async def _account(client: ApiClient) -> None:
    """Pods are refused before their namespace has its service account."""
    while True:
        try:
            await client.get(scheme.SERVICE_ACCOUNTS, "default", "default")
        except ApiError:
            await asyncio.sleep(0.1)
        else:
            return


class Processes:
    """Some of the cluster's processes."""

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self._pids = [int((directory / "run" / f"{name}.pid").read_text()) for name in names]

    def memory(self, kind: str) -> float:
        """MB, summed; ``kind`` is Rss (counts a page in every process that maps it) or Pss (shares it out)."""
        return sum(_rollup(pid)[kind] for pid in self._pids) / 1000

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        return sum(_cpu_seconds(pid) for pid in self._pids)

    async def cpu_percent(self, seconds: float) -> float:
        """Of a core, over so many seconds from now on."""
        before, began = self.cpu_seconds(), time.monotonic()
        await asyncio.sleep(seconds)
        return (self.cpu_seconds() - before) / (time.monotonic() - began) * 100


def _rollup(pid: int) -> dict[str, int]:
    """The kB of each line of proc(5)'s smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.partition(":")[0]: int(line.split()[1]) for line in lines}


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def pod(name: str, node: str = "") -> meta.Object:
    """A pod of one container that obeys SIGTERM, on this node, or where the scheduler puts it."""
    container = {"name": "main", "image": IMAGE, "command": ["sh", "-c", _OBEYS]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 5} | ({"nodeName": node} if node else {}),
    }


async def start(client: ApiClient, pods: Sequence[meta.Object]) -> float:
    """Seconds from the first create, all sent in one call, until a watch has shown each pod Ready."""
    since, began = await _now(client), time.monotonic()
    for result in await client.write([Write.create(scheme.PODS, p) for p in pods]):
        if isinstance(result, ApiError):
            raise result
    await _each(client, since, pods, lambda event, shown: event != "DELETED" and is_ready(shown))
    return time.monotonic() - began


async def end(client: ApiClient, pods: Sequence[meta.Object]) -> float:
    """Seconds from the first delete, all sent in one call, until a watch has shown that each pod is gone."""
    since, began = await _now(client), time.monotonic()
    for result in await client.write([Write.delete(scheme.PODS, p["metadata"]["name"], "default") for p in pods]):
        if isinstance(result, ApiError):
            raise result
    await _each(client, since, pods, lambda event, _: event == "DELETED")
    return time.monotonic() - began


async def _each(
    client: ApiClient, since: str, pods: Sequence[meta.Object], shows: Callable[[str, meta.Object], bool]
) -> None:
    """Until a watch from the resource version ``since`` on has shown it of each pod."""
    missing = {p["metadata"]["name"] for p in pods}
    async with asyncio.timeout(_WITHIN):
        async for event in client.watch(scheme.PODS, "default", resource_version=since):
            if event.object is not None and shows(event.type, event.object):
                missing.discard(event.object["metadata"]["name"])
                if not missing:
                    return


async def _now(client: ApiClient) -> str:
    return (await client.list(scheme.PODS, "default", limit=1)).resource_version


def is_ready(shown: meta.Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in shown.get("status", {}).get("conditions", []))
