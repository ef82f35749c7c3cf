"""Schedules pods onto nodes through a real API server, and tells how many bindings a second were stored.

    python -m bench.scheduling KUBECONFIG [nodes] [pods]

Makes the nodes and pods (in a namespace of its own), then runs the scheduler in this process until all are bound, and
removes everything again. No other scheduler may be running. Nobody runs the pods.
"""

import asyncio
import sys
import time
from typing import Any

from apimachinery import lifecycle
from apimachinery.client.api import ApiClient, Write
from apimachinery.client.informer import InformerFactory
from apimachinery.config import load_kubeconfig
from apimachinery.errors import AlreadyExists, ApiError
from apimachinery.meta import name_suffix
from apimachinery.scheme import NAMESPACES, NODES, PODS, SERVICE_ACCOUNTS, Kind
from bench.scheduler import node, pod
from master.scheduler.profile import DEFAULT_PROFILE
from master.scheduler.scheduler import Scheduler

Object = dict[str, Any]
_NAMESPACE = f"bench-{name_suffix()}"  # a run that was cut off leaves its namespace behind
_BATCH = 100


async def write(client: ApiClient, writes: list[Write]) -> None:
    for start in range(0, len(writes), _BATCH):
        for result in await client.write(writes[start : start + _BATCH]):
            if isinstance(result, ApiError) and not isinstance(result, AlreadyExists):
                raise result


def whole(kind: Kind, obj: Object) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.kind, **obj}


async def prepare(client: ApiClient, nodes: list[Object], pods: list[Object]) -> None:
    account = {"metadata": {"name": "default", "namespace": _NAMESPACE}}
    await write(client, [Write.create(NAMESPACES, whole(NAMESPACES, {"metadata": {"name": _NAMESPACE}}))])
    await write(client, [Write.create(SERVICE_ACCOUNTS, whole(SERVICE_ACCOUNTS, account))])
    await write(client, [Write.create(NODES, whole(NODES, n)) for n in nodes])
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    patches = [(n["metadata"]["name"], {"status": {**n["status"], **ready}}) for n in nodes]
    await write(client, [Write.patch(NODES, name, "", patch, subresource="status") for name, patch in patches])
    untaint = {"spec": {"taints": None}}
    await write(client, [Write.patch(NODES, name, "", untaint) for name, _ in patches])
    await write(client, [Write.create(PODS, whole(PODS, p)) for p in pods])


async def clean(client: ApiClient, nodes: list[Object], pods: list[Object]) -> None:
    names = [p["metadata"]["name"] for p in pods]
    await client.write([Write.delete(PODS, n, _NAMESPACE, grace_period_seconds=0) for n in names])
    await client.write([Write.delete(NODES, n["metadata"]["name"]) for n in nodes])
    await client.delete(NAMESPACES, _NAMESPACE)


async def measure(client: ApiClient, count: int) -> float:
    """Seconds from a synced scheduler's first decision to the last stored binding."""
    informers = InformerFactory(client)
    async with lifecycle.Tasks() as tasks:
        scheduler = Scheduler(client, informers, DEFAULT_PROFILE)
        tasks.start("informers", informers.run())
        await informers.wait_synced()
        start = time.perf_counter()
        tasks.start("scheduler", scheduler.run())
        while scheduler.bound < count:
            await asyncio.sleep(0.01)
        return time.perf_counter() - start


async def bindings_per_second(client: ApiClient, node_count: int, pod_count: int) -> float:
    """Set up, measure and clean up."""
    nodes, pods = [node(n) for n in range(node_count)], [pod(n) for n in range(pod_count)]
    for obj in pods:
        obj["metadata"] = {k: v for k, v in obj["metadata"].items() if k != "uid"} | {"namespace": _NAMESPACE}
    try:
        await prepare(client, nodes, pods)
        return pod_count / await measure(client, pod_count)
    finally:
        await clean(client, nodes, pods)


async def run(kubeconfig: str, node_count: int, pod_count: int) -> None:
    client = await ApiClient.connect(load_kubeconfig(kubeconfig), user_agent="bench")
    try:
        rate = await bindings_per_second(client, node_count, pod_count)
        print(f"{pod_count} pods on {node_count} nodes: {rate:.0f} bindings/s stored")
    finally:
        await client.close()


def main() -> None:
    nodes, pods = (int(a) for a in (*sys.argv[2:4], *("1000", "3000")[len(sys.argv) - 2 :]))
    sys.exit(lifecycle.run(lambda: run(sys.argv[1], nodes, pods)))


if __name__ == "__main__":
    main()
