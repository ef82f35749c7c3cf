"""Stands in for scheduler and node agents on a real API server: binds pods and makes them Ready."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from apimachinery import pods as pod_facts
from apimachinery.client.api import ApiClient, Binding
from apimachinery.client.informer import InformerFactory
from apimachinery.client.workqueue import WorkQueue
from apimachinery.config import ClusterAccess
from apimachinery.errors import AlreadyExists, ApiError
from apimachinery.meta import Key, Object, format_time, is_deleting, key_of, name_of, namespace_of
from apimachinery.scheme import NODES, PODS


class HollowNodes:
    def __init__(self, client: ApiClient, names: list[str]) -> None:
        self.client = client
        self._names = itertools.cycle(names)
        self._queue: WorkQueue[Key] = WorkQueue()
        self._factory = InformerFactory(client)
        self.pods = self._factory.informer(PODS)
        self.pods.add_handler(lambda event, old, new: self._queue.add(key_of(new)) if new else None)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._factory.run())
            for _ in range(4):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            pod = self.pods.store.get(*key)
            try:
                if pod is not None:
                    await self._tend(pod)
            except ApiError:
                self._queue.add_rate_limited(key)
            finally:
                self._queue.done(key)

    async def _tend(self, pod: Object) -> None:
        name, namespace = name_of(pod), namespace_of(pod)
        if is_deleting(pod):
            await self.client.delete(PODS, name, namespace, grace_period_seconds=0)
        elif not pod_facts.node_name(pod):
            (refused,) = await self.client.bind([Binding(namespace, name, next(self._names))])
            if refused:  # by a server whose etcd is away, for one
                raise refused
        elif pod_facts.phase(pod) == "Pending" and not _is_broken(pod):
            now = format_time(datetime.now(UTC))
            conditions = [
                {"type": t, "status": "True", "lastTransitionTime": now} for t in ("Ready", "ContainersReady")
            ]
            done = str(pod["spec"]["containers"][0]["image"]).startswith("done")
            status = {"phase": "Succeeded"} if done else {"phase": "Running", "conditions": conditions}
            await self.client.patch(PODS, name, namespace, {"status": status}, subresource="status")


def _is_broken(pod: Object) -> bool:
    return str(pod["spec"]["containers"][0]["image"]).startswith("broken")


@contextlib.asynccontextmanager
async def hollow_nodes(access: ClusterAccess, *names: str) -> AsyncIterator[HollowNodes]:
    client = await ApiClient.connect(access, user_agent="hollow-nodes")
    for name in names:
        metadata = {"name": name, "labels": {"kubernetes.io/hostname": name}}
        with contextlib.suppress(AlreadyExists):
            await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        await client.patch(NODES, name, "", {"spec": {"taints": None}})  # a new node is tainted as not ready
    nodes = HollowNodes(client, list(names))
    task = asyncio.create_task(nodes.run())
    try:
        yield nodes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()
