"""Statuses reach the API server in order, whatever comes in between."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from apimachinery.client.api import ApiClient, Write
from apimachinery.errors import ServiceUnavailable
from node.agent.status_writer import StatusWriter

Object = dict[str, Any]


def pod(version: int, ready: str = "False", phase: str = "Pending") -> Object:
    meta = {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": str(version)}
    return {"metadata": meta, "spec": {}, "status": status(ready, phase)}


def status(ready: str, phase: str) -> Object:
    return {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}


class Server(ApiClient):
    """Keeps one pod; tells the writer of a change before the write is answered, as a watch may."""

    def __init__(self) -> None:
        self.writer = StatusWriter(self)
        self.pod, self.failures, self.writes = pod(1), 0, 0

    async def write(self, writes: Sequence[Write]) -> Any:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise ServiceUnavailable("away")
        self.writes += 1
        patch = orjson.loads(writes[0].message.body)["status"]
        stored = self.pod["status"]
        by_type = {c["type"]: c for c in [*stored["conditions"], *patch.pop("conditions", [])]}
        version = int(self.pod["metadata"]["resourceVersion"]) + 1
        self.pod = pod(version) | {"status": stored | patch | {"conditions": list(by_type.values())}}
        self.writer.reconcile(self.pod)
        return [self.pod]

    async def settle(self) -> None:
        running = asyncio.create_task(self.writer.run())
        await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            while self.writer._waiting or self.writer._flying:
                await asyncio.sleep(0.01)
        running.cancel()


async def test_own_write_seen_early_is_not_taken_for_another_opinion() -> None:
    server = Server()
    first = server.pod
    server.writer.put(first, status("False", "Running"))
    await server.settle()
    server.writer.put(first, status("True", "Running"))
    await server.settle()
    assert server.pod["status"] == status("True", "Running")
    assert server.writes == 2


async def test_other_opinion_is_overruled() -> None:
    server = Server()
    server.writer.put(server.pod, status("True", "Running"))
    await server.settle()
    server.pod = pod(50, "False", "Running")
    server.writer.reconcile(server.pod)
    await server.settle()
    assert server.pod["status"] == status("True", "Running")


async def test_what_could_not_be_written_is_written_later_and_only_the_newest() -> None:
    server = Server()
    server.failures = 1
    server.writer.put(server.pod, status("False", "Running"))
    server.writer.put(server.pod, status("True", "Running"))
    await server.settle()
    assert server.pod["status"] == status("True", "Running")
    assert server.writes == 1
