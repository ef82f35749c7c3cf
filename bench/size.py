"""The API server at size: 50,000 pods. Lists while other requests go on, the cost of a write, memory, and start.

The pods are put into etcd before the server starts, as they would be stored. Pauses are the server's own (``probe``);
costs are the server's user and system CPU time, which other load on the machine hardly changes. Memory per object is
what the resident memory grows by from an empty server to a full one, over the JSON that the objects have.
"""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import orjson
import psutil
import uvloop

from apimachinery import schema, scheme
from bench import api_server, http_load
from master.apiserver.registry import managed_fields, metadata
from master.apiserver.registry.answers import WriteOptions
from master.apiserver.registry.catalog import Catalog
from master.apiserver.registry.kinds import STRATEGIES
from master.apiserver.storage import codec
from master.apiserver.storage.etcd import EtcdAccess, EtcdStorage
from master.apiserver.storage.interface import Put

OBJECTS = 50_000
_NAMESPACES = 50
_BATCH = 128
_PODS = "/api/v1/pods"
_PAUSE = 20.0  # ms


def pod(number: int) -> bytes:
    """A pod as it is stored: with defaults, and with its managers."""
    obj = orjson.loads(api_server.pod(number))
    strategy = Catalog(STRATEGIES).strategy(scheme.PODS) if not _strategy else _strategy[0]
    _strategy[:] = [strategy]
    metadata.fill_new(scheme.PODS, obj, f"ns-{number % _NAMESPACES}", generation=True)
    strategy.default(obj)
    managed_fields.record_create(schema.load(), strategy, obj, WriteOptions(field_manager="bench"))
    strategy.prepare_create(obj)
    return codec.encode(obj)


_strategy: list = []


def fill(objects: int) -> Callable[[str], None]:
    """Put so many pods into etcd."""

    async def put(url: str) -> None:
        storage = EtcdStorage(EtcdAccess((url,)))
        for at in range(0, objects, _BATCH):
            numbers = range(at, min(at + _BATCH, objects))
            await storage.commit([Put(f"/registry/pods/ns-{n % _NAMESPACES}/pod-{n}", pod(n), 0) for n in numbers])
        await storage.close()

    return lambda url: uvloop.run(put(url))


class Server:
    def __init__(self, target: http_load.Target, process: psutil.Process, report: Path) -> None:
        self.target, self.process, self._report = target, process, report

    async def pause(self) -> float:
        """The longest pause since the last question, in milliseconds."""
        self._report.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        while not self._report.exists():
            await asyncio.sleep(0.005)
        return float(self._report.read_text())

    def cpu(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system

    async def get(self, path: str) -> bytes:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.target.port, ssl=self.target.tls(), limit=1 << 26
        )
        code, body = await http_load.exchange(reader, writer, self.target.request("GET", path))
        writer.close()
        if code >= 400:
            raise RuntimeError(f"{code}: {body[:300]!r}")
        return body
