"""What one noisy client does to the others: their latencies alone, beside it, and beside it without limits of seats.

``python -m bench.fairness``. The noise comes from a process of its own: hundreds of connections that list 1,000 pods or
create ConfigMaps as fast as they are answered. The victims read and write one small object after the other: a second
client of the same priority level, and a node that renews its lease.
"""

import asyncio
import contextlib
import json
import multiprocessing
import statistics
import tempfile
import time
from collections import Counter
from multiprocessing.synchronize import Event
from pathlib import Path

import uvloop

from bench import api_server, http_load
from bench.report import Figure, show

_CONNECTIONS, _SECONDS = 300, 6.0
_TOKENS = 'noise,noisy,1,""\nvictim,victim,2,""\nnode,system:node:one,3,"system:nodes"\n'
_OFF = ("--enable-priority-and-fairness=false", "--max-requests-inflight=0", "--max-mutating-requests-inflight=0")
_PATH = "/api/v1/namespaces/default"
_LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


def _noise(port: int, sort: str, ready: Event, seconds: float) -> None:
    """The noisy client; answers that it is sent away are answers, too."""
    target = http_load.Target(port, "noise")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "noise-"}, "data": {"key": "value"}}
    created = target.request("POST", f"{_PATH}/configmaps", json.dumps(body).encode())
    request = created if sort == "creates" else target.request("GET", f"{_PATH}/pods")

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=1 << 26)
        await connected.wait()
        ready.set()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            code, _ = await http_load.exchange(reader, writer, request)
            codes[code] += 1
        writer.close()

    async def run() -> None:
        ended = await asyncio.gather(*(work() for _ in range(_CONNECTIONS)), return_exceptions=True)
        failed = [repr(e) for e in ended if e]
        print(f"{sort}: answers by code {dict(codes)}, {len(failed)} connections broke {failed[:1]}")

    codes: Counter[int] = Counter()
    connected = asyncio.Barrier(_CONNECTIONS)
    tls = target.tls()
    uvloop.run(run())


async def _victim(target: http_load.Target, request: bytes, seconds: float) -> list[float]:
    """Milliseconds of one request after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port, ssl=target.tls())
    taken, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        began = time.monotonic()
        code, body = await http_load.exchange(reader, writer, request)
        if code >= 400:
            raise RuntimeError(f"{code}: {body[:300]!r}")
        taken.append((time.monotonic() - began) * 1000)
        await asyncio.sleep(0.02)
    writer.close()
    return taken


async def _victims(port: int, seconds: float) -> dict[str, list[float]]:
    client, node = http_load.Target(port, "victim"), http_load.Target(port, "node")
    renewal = b'{"spec":{"renewTime":"2026-01-01T00:00:00.000000Z"}}'
    requests = {
        "client, GET": (client, client.request("GET", f"{_PATH}/configmaps/one")),
        "node, lease": (node, node.request("PATCH", f"{_LEASE}/one", renewal, "application/merge-patch+json")),
    }
    found = await asyncio.gather(*(_victim(t, r, seconds) for t, r in requests.values()))
    return dict(zip(requests, found, strict=True))


async def _prepare(target: http_load.Target) -> None:
    await api_server.prepare(target)
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    api = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{api}/v1", "kind": "ClusterRole", "metadata": {"name": "bench"}, "rules": rules}
    subjects = [{"apiGroup": api, "kind": "User", "name": name} for name in ("noisy", "victim")]
    ref = {"apiGroup": api, "kind": "ClusterRole", "name": "bench"}
    binding = {"apiVersion": f"{api}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "bench"}}
    await api_server.once(target, "POST", f"/apis/{api}/v1/clusterroles", role)
    await api_server.once(
        target, "POST", f"/apis/{api}/v1/clusterrolebindings", binding | {"roleRef": ref, "subjects": subjects}
    )
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "one"}}
    await api_server.once(target, "POST", _LEASE, lease)
    await api_server.once(
        target, "POST", f"{_PATH}/configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}
    )


def _measure(about: str, target: http_load.Target, sort: str) -> list[Figure]:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    noise = context.Process(target=_noise, args=(target.port, sort, ready, _SECONDS + 1))
    if sort:
        noise.start()
        ready.wait(20)
    found = uvloop.run(_victims(target.port, _SECONDS))
    if sort:
        noise.join()
    figures = []
    for victim, taken in found.items():
        taken.sort()
        for name, value in (("p50", statistics.median(taken)), ("p99", taken[len(taken) * 99 // 100])):
            figures.append(Figure(f"{victim}, {about}, {name}", value, "ms"))
    return figures


def run() -> list[Figure]:
    """Milliseconds of the victims' requests."""
    figures: list[Figure] = []
    for about, flags in (("fair", ()), ("without seats", _OFF)):
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            target, _, _ = stack.enter_context(api_server.api_server(folder, *flags, tokens=_TOKENS))
            uvloop.run(_prepare(target))
            for sort in ("", "lists", "creates"):
                beside = f"beside {_CONNECTIONS} connections' {sort}" if sort else "alone"
                figures += _measure(f"{about}, {beside}", target, sort)
    return figures


if __name__ == "__main__":
    show(run())
