"""A local cluster of three nodes on Docker: start, idle memory and CPU, and its pods (``bench.pods``).

Memory is told twice: RSS counts a page in every process that maps it, PSS shares it out among them; the processes of a
local cluster are forked from one and share what they import. Status writes are what a watch of all pods and nodes sees
while nothing happens; an agent writes its node's status every five minutes, and Leases every ten seconds, which are
not counted. Goals are DESIGN's and those of the node.
"""

import asyncio
import functools
import time
from pathlib import Path

from apimachinery import scheme
from apimachinery.client.api import ApiClient
from bench import bare, cluster, pods
from bench.report import Figure, show

_IDLE, _PODS = 15.0, 30
_CONTROL_PLANE = ("etcd-0", "kubeto-apiserver", "kubeto-controller-manager", "kubeto-scheduler")
_AGENT = "kubeto-node-1"


async def _idle_agent(directory: Path, client: ApiClient) -> list[Figure]:
    """What a node with pods costs, and what its agent writes, while nothing happens."""
    made = [cluster.pod(f"idle-{number}", "node-1") for number in range(_PODS)]
    await cluster.start(client, made)
    what = f"node agent, idle with {_PODS} pods"
    agent = cluster.Processes(directory, [_AGENT])
    figures, writes = await asyncio.gather(
        pods.idle(agent, what, _IDLE, megabytes=80, percent=1), _writes(client, _IDLE)
    )
    await cluster.end(client, made)
    return [*figures, Figure(f"status writes of 3 nodes, idle with {_PODS} pods, in {_IDLE:.0f} s", writes, "", 1)]


async def _writes(client: ApiClient, seconds: float) -> int:
    """Changes of pods and nodes that a watch sees in so many seconds."""
    seen = 0

    async def watch(kind: scheme.Kind) -> None:
        nonlocal seen
        since = (await client.list(kind, limit=1)).resource_version
        async for event in client.watch(kind, resource_version=since):
            seen += event.object is not None

    watches = [asyncio.create_task(watch(kind)) for kind in (scheme.PODS, scheme.NODES)]
    await asyncio.sleep(seconds)
    for task in watches:
        task.cancel()
    return seen


async def _small(directory: Path, client: ApiClient) -> list[Figure]:
    processes = cluster.Processes(directory, _CONTROL_PLANE)
    figures = await pods.idle(processes, "control plane with etcd, idle", _IDLE, megabytes=400, percent=2)
    figures += await pods.life(client, "Docker", 0.6)
    return figures + await _idle_agent(directory, client)


def run() -> list[Figure]:
    """All figures of a local cluster. Needs root and Docker."""
    began = time.monotonic()
    with cluster.running("--nodes=3") as directory:
        figures = [Figure("kubeto up, 3 nodes on Docker: to all Ready", time.monotonic() - began, "s", 5)]
        figures += cluster.ask(directory, functools.partial(_small, directory))
        with bare.docker_nodes(pods.NODES, pods.SPREAD) as engine:
            figures += pods.spread(directory, "Docker", engine)
        return figures + cluster.ask(directory, functools.partial(pods.full_node, directory, "Docker"))


if __name__ == "__main__":
    show(run())
