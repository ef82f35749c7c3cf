"""10,000 watches of one resource: what one write costs then, and how long until all have its event.

The watches are opened over the inside gRPC, 1,000 on each of ten connections: as many connections of their own would
measure TLS. The client only counts: it looks for the object's name in each message and decodes nothing. Cost and
memory are the server's.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import psutil
import uvloop

from apimachinery.rpc import CLIENT_OPTIONS
from bench import api_server, http_load
from bench.report import Figure, show
from protos.kubeto.v1 import apiserver_pb2 as pb

CONNECTIONS, EACH = 10, 1000
_WRITES = 30
_SELECTION = pb.Selection(resource=pb.Resource(version="v1", resource="configmaps"), namespace="default")


class Counter:
    """Counts the events of one object among all watches, and the watches that have begun."""

    def __init__(self) -> None:
        self.begun, self.name = 0, b"no object has this name"
        self.arrivals: list[float] = []
        self.all_there = asyncio.Event()

    def expect(self, name: bytes) -> None:
        self.name, self.arrivals = name, []
        self.all_there.clear()

    def take(self, reply: bytes) -> bytes:
        now, found = time.monotonic(), reply.count(self.name)
        if found:
            self.arrivals += [now] * found
            if len(self.arrivals) >= CONNECTIONS * EACH:
                self.all_there.set()
        else:
            self.begun += sum(e.type == pb.WatchEvent.SYNCED for e in pb.WatchReply.FromString(reply).events)
        return reply


async def _requests() -> AsyncIterator[pb.WatchRequest]:
    for number in range(EACH):
        yield pb.WatchRequest(id=number + 1, open=_SELECTION)
    await asyncio.Event().wait()


async def _watch(port: int, ca: bytes, token: str, counter: Counter) -> None:
    """All the watches of one connection, until cancelled."""
    options = [*CLIENT_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(ca), options) as channel:
        call = channel.stream_stream(
            "/kubeto.v1.ApiServer/Watch", pb.WatchRequest.SerializeToString, response_deserializer=counter.take
        )
        metadata = (("authorization", f"Bearer {token}"),)
        async for _ in call(_requests(), metadata=metadata):
            pass


async def _measure(target: http_load.Target, process: psutil.Process, ca: bytes) -> list[Figure]:
    watches, counter = CONNECTIONS * EACH, Counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port, ssl=target.tls())

    async def create(number: int) -> None:
        request = target.request("POST", "/api/v1/namespaces/default/configmaps", api_server.config_map(number))
        code, body = await http_load.exchange(reader, writer, request)
        if code >= 400:
            raise RuntimeError(f"{code}: {body[:300]!r}")

    await create(-1)
    before = process.memory_info().rss
    tasks = [asyncio.create_task(_watch(target.port + 2, ca, target.token, counter)) for _ in range(CONNECTIONS)]
    async with asyncio.timeout(120):
        while counter.begun < watches:
            await asyncio.sleep(0.05)
    memory = (process.memory_info().rss - before) / watches
    latencies: list[float] = []
    used = _cpu(process)
    for number in range(_WRITES):
        counter.expect(b'"map-%d"' % number)
        began = time.monotonic()
        await create(number)
        async with asyncio.timeout(60):
            await counter.all_there.wait()
        latencies += [at - began for at in counter.arrivals]
    cost = (_cpu(process) - used) / _WRITES / watches
    for task in tasks:
        task.cancel()
    writer.close()
    quantiles = statistics.quantiles(latencies, n=100)
    return [
        Figure(f"{watches:,} watches: memory of each", memory / 1000, "kB", 10),
        Figure(f"{watches:,} watches: server's CPU, an event to one of them", cost * 1e6, "µs", 10),
        Figure(f"{watches:,} watches: write to event, p50", quantiles[49] * 1000, "ms"),
        Figure(f"{watches:,} watches: write to event, p99", quantiles[98] * 1000, "ms", 250),
    ]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def run() -> list[Figure]:
    """All figures of many watches."""
    with tempfile.TemporaryDirectory() as folder, api_server.api_server(Path(folder)) as (target, process, _):
        ca = (Path(folder) / "ca.crt").read_bytes()
        return uvloop.run(_measure(target, process, ca))


if __name__ == "__main__":
    show(run())
