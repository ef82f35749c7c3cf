"""Pods as a watch sees them, on three nodes. By itself: those on containerd; ``bench.up`` has those on Docker.

- A pod's life: the medians of several pods, one after the other.
- Many at once: created by one call, on one node, or where the scheduler puts them; until the last is Ready. The bare
  engine makes the same containers in the same minutes (``bench.bare``), as many at once; of each, the best of two runs.
- A full node: 100 pods. Their agent is ended by SIGKILL; the one that follows must keep all as they are: same
  containers, no restart, and no watch ever sees one that is not Ready. A pod that is lost counts.
"""

import asyncio
import functools
import os
import signal
import statistics
from collections.abc import Callable
from pathlib import Path

from apimachinery import meta, scheme
from apimachinery.client.api import ApiClient
from bench import bare, cluster
from bench.report import Figure, show

NODES, SPREAD = 3, 30
_AT_ONCE, _FULL = 20, 100
_ROUNDS, _BEST_OF = 7, 2
_SETTLE, _IDLE = 8.0, 10.0  # seconds
_AGENT = "kubeto-node-1"


async def idle(
    processes: cluster.Processes, what: str, seconds: float, *, megabytes: float | None, percent: float | None
) -> list[Figure]:
    """Memory and CPU of processes that have nothing to do, with their goals."""
    await asyncio.sleep(_SETTLE)
    used = await processes.cpu_percent(seconds)
    return [
        Figure(f"{what}: memory, RSS", processes.memory("Rss"), "MB", megabytes),
        Figure(f"{what}: memory, PSS", processes.memory("Pss"), "MB"),
        Figure(f"{what}: CPU", used, "% of a core", percent),
    ]


async def life(client: ApiClient, runtime: str, goal: float) -> list[Figure]:
    """One pod after the other; ``goal``: seconds until it is Ready."""
    starts, ends = [], []
    for number in range(_ROUNDS):
        pod = cluster.pod(f"pod-{number}", "node-1")
        starts.append(await cluster.start(client, [pod]))
        ends.append(await cluster.end(client, [pod]))
    return [
        Figure(f"pod create to Ready, on {runtime}", statistics.median(starts), "s", goal),
        Figure(f"pod delete to gone, obeying SIGTERM, on {runtime}", statistics.median(ends), "s", 0.7),
    ]


async def _together(count: int, node: str, client: ApiClient) -> float:
    """Seconds until so many pods at once are Ready."""
    made = [cluster.pod(f"one-of-{count}-{number}", node) for number in range(count)]
    seconds = await cluster.start(client, made)
    await cluster.end(client, made)
    return seconds


def spread(directory: Path, runtime: str, engine: Callable[[], float]) -> list[Figure]:
    """Pods on three nodes beside the same containers by the bare engine."""
    ours, bares = [], []
    for _ in range(_BEST_OF):
        ours.append(cluster.ask(directory, functools.partial(_together, SPREAD, "")))
        bares.append(engine())
    what = f"{SPREAD} pods at once on {NODES} nodes, {runtime}"
    return [
        Figure(f"{what}: to all Ready", min(ours), "s"),
        Figure("  of what the bare engine needs", min(ours) / min(bares), "×", 1.3),
    ]


async def full_node(directory: Path, runtime: str, client: ApiClient) -> list[Figure]:
    """100 pods on a node: start, idle, a new agent, end."""
    made, what = (
        [cluster.pod(f"full-{number}", "node-1") for number in range(_FULL)],
        f"{_FULL} pods on a node, {runtime}",
    )
    seconds = await cluster.start(client, made)
    figures = [Figure(f"{what}: to all Ready", seconds, "s")]
    figures += await idle(
        cluster.Processes(directory, [_AGENT]), f"  agent, idle with {_FULL}", _IDLE, megabytes=None, percent=None
    )
    figures.append(Figure("  lost or disturbed by a new agent", await _disturbed(directory, client), "pods", 0))
    return [*figures, Figure("  delete to all gone", await cluster.end(client, made), "s")]


async def _disturbed(directory: Path, client: ApiClient) -> int:
    """Kill the agent; how many pods are not as before once the next one has reported its node."""
    before = await client.list(scheme.PODS, "default")
    kept = {p["metadata"]["name"]: _identity(p) for p in before.items}
    disturbed: set[str] = set()

    async def watch() -> None:
        async for event in client.watch(scheme.PODS, "default", resource_version=before.resource_version):
            if event.object is not None and _identity(event.object) != kept[event.object["metadata"]["name"]]:
                disturbed.add(event.object["metadata"]["name"])

    watching = asyncio.create_task(watch())
    await _restart(directory, _AGENT)
    await asyncio.sleep(_SETTLE)
    watching.cancel()
    return len(disturbed)


def _identity(pod: meta.Object) -> object:
    """What a restart of the agent must not change."""
    containers = [(c["containerID"], c["restartCount"]) for c in pod["status"]["containerStatuses"]]
    return pod["metadata"]["uid"], containers, cluster.is_ready(pod), "deletionTimestamp" in pod["metadata"]


async def _restart(directory: Path, component: str) -> None:
    """End a component by SIGKILL, and wait until the supervisor has started it again."""
    file = directory / "run" / f"{component}.pid"
    pid = file.read_text()
    os.kill(int(pid), signal.SIGKILL)
    async with asyncio.timeout(30):
        while not file.exists() or file.read_text() in ("", pid):
            await asyncio.sleep(0.05)


async def _on_containerd(client: ApiClient) -> list[Figure]:
    figures = await life(client, "containerd", 0.45)
    seconds = min([await _together(_AT_ONCE, "node-1", client) for _ in range(_BEST_OF)])
    return [*figures, Figure(f"{_AT_ONCE} pods at once on a node, containerd: to all Ready", seconds, "s", 3.5)]


def run() -> list[Figure]:
    """All figures of pods on containerd. Needs root, containerd and, for its images, Docker."""
    with cluster.running("--nodes=3", "--runtime=containerd") as directory:
        figures = cluster.ask(directory, _on_containerd)
        with bare.containerd_nodes(NODES, SPREAD) as engine:
            figures += spread(directory, "containerd", engine)
        return figures + cluster.ask(directory, functools.partial(full_node, directory, "containerd"))


if __name__ == "__main__":
    show(run())
