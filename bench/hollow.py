"""1,000 hollow nodes in one process, on the in-memory runtime: ``kubeto up --runtime fake --nodes 1000``.

Their agents are the real ones, each with its lease, node status, load stream and pod workers. Then 5,000 pods, where
the scheduler puts them. Memory is RSS; idle CPU includes the leases: 100 a second. Nobody has a goal but the process
of the nodes; beside it what the others need for a cluster of that size.
"""

import asyncio
import time
from pathlib import Path

from apimachinery.client.api import ApiClient
from bench import cluster
from bench.report import Figure, show

_NODES, _PODS = 1000, 5000
_AGENTS = "kubeto-node"
_OTHERS = ("kubeto-apiserver", "kubeto-controller-manager", "kubeto-scheduler", "etcd-0")
_SETTLE, _IDLE = 5.0, 15.0  # seconds


async def _idle(directory: Path, what: str, goal: float) -> list[Figure]:
    """Memory and CPU of each component while nothing happens; ``goal``: MB for the nodes' process."""
    await asyncio.sleep(_SETTLE)
    components = {name: cluster.Processes(directory, [name]) for name in (_AGENTS, *_OTHERS)}
    used = await asyncio.gather(*(each.cpu_percent(_IDLE) for each in components.values()))
    figures = []
    for (name, processes), percent in zip(components.items(), used, strict=True):
        bound = goal if name == _AGENTS else None
        figures.append(Figure(f"{what}: {name}, memory", processes.memory("Rss"), "MB", bound))
        figures.append(Figure("  idle CPU", percent, "% of a core"))
    return figures


async def _pods(client: ApiClient) -> list[Figure]:
    made = [cluster.pod(f"hollow-{number}") for number in range(_PODS)]
    seconds = await cluster.start(client, made)
    return [Figure(f"{_PODS:,} pods on {_NODES:,} hollow nodes: created to Ready", _PODS / seconds, "/s")]


def run() -> list[Figure]:
    """All figures of hollow nodes. Needs no Docker."""
    began = time.monotonic()
    with cluster.running(f"--nodes={_NODES}", "--runtime=fake") as directory:
        figures = [Figure(f"kubeto up, {_NODES:,} hollow nodes: to all Ready", time.monotonic() - began, "s")]

        async def measure(client: ApiClient) -> None:
            figures.extend(await _pods(client))
            figures.extend(await _idle(directory, f"{_NODES:,} nodes, {_PODS:,} pods", 1000))

        cluster.ask(directory, measure)
    return figures


if __name__ == "__main__":
    show(run())
