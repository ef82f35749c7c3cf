"""The API server at size: 50,000 pods. Lists while other requests go on, the cost of a write, memory, and start.

The pods are put into etcd before the server starts, as they would be stored. Pauses are the server's own (``probe``);
costs are the server's user and system CPU time, which other load on the machine hardly changes. Memory of an object is
what the resident memory of a full server is above that of an empty one, over the JSON that the objects have.
"""

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil
import uvloop

from apimachinery import schema, scheme
from bench import api_server, http_load
from bench.report import Figure, show
from master.apiserver.registry import managed_fields, metadata
from master.apiserver.registry.answers import WriteOptions
from master.apiserver.registry.kinds.pods import PodStrategy
from master.apiserver.storage import codec
from master.apiserver.storage.etcd import EtcdAccess, EtcdStorage
from master.apiserver.storage.interface import Put

OBJECTS, FEW = 50_000, 1_000
_NAMESPACES, _BATCH, _WRITES = 50, 128, 1_000
_PAUSE = 20.0
"""Milliseconds."""
_PODS = "/api/v1/pods"
_READS = {
    "full": f"{_PODS}?resourceVersion=0",
    "full, consistent": _PODS,
    "by label": f"{_PODS}?labelSelector=group%3D3",
    "by field, a page": f"{_PODS}?fieldSelector=spec.nodeName%3Dabsent&limit=500",
    "a page": f"{_PODS}?limit=500",
    "watch from the start": f"{_PODS}?watch=1&resourceVersion=0&timeoutSeconds=2",
}


def pod(strategy: PodStrategy, number: int) -> bytes:
    """A pod as it is stored: with defaults, and with its managers."""
    obj = orjson.loads(api_server.pod(number))
    metadata.fill_new(scheme.PODS, obj, f"ns-{number % _NAMESPACES}", generation=True)
    strategy.default(obj)
    managed_fields.record_create(schema.load(), strategy, obj, WriteOptions(field_manager="bench"))
    strategy.prepare_create(obj)
    return codec.encode(obj)


def fill(objects: int) -> Callable[[str], None]:
    """Put so many pods into the etcd of a URL."""
    strategy = PodStrategy(scheme.PODS)

    async def put(url: str) -> None:
        storage = EtcdStorage(EtcdAccess((url,)))
        for at in range(0, objects, _BATCH):
            some = range(at, min(at + _BATCH, objects))
            keys = (f"/registry/pods/ns-{n % _NAMESPACES}/pod-{n}" for n in some)
            await storage.commit([Put(k, pod(strategy, n), 0) for k, n in zip(keys, some, strict=True)])
        await storage.close()

    return lambda url: uvloop.run(put(url))


@dataclass(frozen=True, slots=True)
class Server:
    """A running API server with a probe in its loop."""

    target: http_load.Target
    process: psutil.Process
    report: Path
    start_seconds: float

    async def pause(self) -> float:
        """The longest pause since the last question, in milliseconds."""
        self.report.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        while not self.report.exists():
            await asyncio.sleep(0.005)
        return float(self.report.read_text())

    def cpu(self) -> float:
        """Seconds so far."""
        times = self.process.cpu_times()
        return times.user + times.system

    async def send(self, requests: Iterator[bytes]) -> None:
        """One request after the other on one connection. Raises RuntimeError on a refusal."""
        tls, port = self.target.tls(), self.target.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=1 << 26)
        for request in requests:
            code, body = await http_load.exchange(reader, writer, request)
            if code >= 400:
                raise RuntimeError(f"{code}: {body[:300]!r}")
        writer.close()


@contextmanager
def _server(objects: int) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "pause"
        program = [sys.executable, "-m", "bench.probe", str(report)]
        running = api_server.api_server(Path(folder), program=program, fill=fill(objects))
        with running as (target, process, seconds):
            yield Server(target, process, report, seconds)


async def _reads(server: Server) -> list[Figure]:
    """Each kind of list, beside a client that goes on asking for one pod: how long is the loop held up?"""
    worst: dict[str, float] = {}
    get = server.target.request("GET", "/api/v1/namespaces/ns-1/pods/pod-1?resourceVersion=0")
    for name, path in _READS.items():
        await server.pause()
        asking = asyncio.create_task(server.send(iter(lambda: get, None)))
        await server.send(iter([server.target.request("GET", path)] * 3))
        asking.cancel()
        worst[name] = await server.pause()
    return [Figure(f"{OBJECTS:,} pods, {name}: longest pause", ms, "ms", _PAUSE) for name, ms in worst.items()]


async def _cost_of_a_write(server: Server) -> float:
    """Microseconds of the server's CPU for a create of another object and a status of one of many."""

    def writes() -> Iterator[bytes]:
        for n in range(_WRITES):
            yield server.target.request("POST", "/api/v1/namespaces/default/configmaps", api_server.config_map(n))
            name, namespace = f"pod-{n}", f"ns-{n % _NAMESPACES}"
            status = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "status": {"message": str(n)}}
            path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
            yield server.target.request("PUT", path, orjson.dumps(status))

    began = server.cpu()
    await server.send(writes())
    return (server.cpu() - began) / _WRITES / 2 * 1e6


async def _settled_memory(server: Server) -> float:
    await asyncio.sleep(0.5)
    return float(server.process.memory_info().rss)


def run() -> list[Figure]:
    """All figures of many objects."""
    json = sum(len(pod(PodStrategy(scheme.PODS), n)) for n in range(100)) / 100
    with _server(FEW) as few:
        before, cost = uvloop.run(_settled_memory(few)), uvloop.run(_cost_of_a_write(few))
    with _server(OBJECTS) as many:
        memory = (uvloop.run(_settled_memory(many)) - before) / (OBJECTS - FEW)
        figures = [Figure(f"{OBJECTS:,} pods: start to ready", many.start_seconds, "s", 5)]
        figures.append(Figure(f"{OBJECTS:,} pods: memory of each, over its JSON", memory / json, "×", 2.5))
        figures += uvloop.run(_reads(many))
        grown = uvloop.run(_cost_of_a_write(many)) / cost
    figures.append(Figure(f"CPU of a write among {OBJECTS:,} pods, over one among {FEW:,}", grown, "×", 1.15))
    return figures


if __name__ == "__main__":
    began = time.monotonic()
    show(run())
    print(f"{time.monotonic() - began:.0f} s")
