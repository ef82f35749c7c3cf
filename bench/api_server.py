"""The API server alone with an etcd: reads, writes, watches, start and memory.

The goals are DESIGN's multiples of what kube-apiserver v1.36 reached on the reference machine (2 cores).
"""

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import psutil
import uvloop
import yaml

from apimachinery import pki, whole_file
from apimachinery.config import kubeconfig
from bench import http_load
from bench.report import Figure, show

_PORT = int(os.environ.get("BENCH_PORT", "19443"))
_ETCD = _PORT + 36
_PODS, _LABELLED, _WATCHERS, _WRITES = 1000, 100, 20, 100
_PATH = "/api/v1/namespaces/default"


@contextlib.contextmanager
def api_server(
    directory: Path,
    *flags: str,
    tokens: str = "",
    program: Sequence[str] = (),
    fill: Callable[[str], None] = lambda url: None,
) -> Iterator[tuple[http_load.Target, psutil.Process, float]]:
    """An API server on a fresh etcd: its target, its process, and the seconds it took to be ready.

    ``program`` is another command for it; ``fill`` is given etcd's URL before the server starts.
    """
    ca = pki.ensure_ca(directory)
    ca.ensure_server(directory / "serving", "kube-apiserver", dns=["localhost"], ips=["127.0.0.1"])
    (directory / "tokens.csv").write_text('bench,admin,admin,"system:masters"\n' + tokens)
    url, peers = f"http://127.0.0.1:{_ETCD}", f"http://127.0.0.1:{_ETCD + 1}"
    etcd = ["etcd", f"--data-dir={directory / 'etcd'}", f"--listen-client-urls={url}", f"--advertise-client-urls={url}"]
    etcd += [f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}", "--log-level=error"]
    etcd += [f"--initial-cluster=default={peers}"]
    server = [*(program or [str(Path(sys.executable).parent / "kubeto-apiserver")])]
    server += [f"--etcd-servers={url}", f"--secure-port={_PORT}"]
    server += [f"--tls-cert-file={directory / 'serving.crt'}", f"--tls-private-key-file={directory / 'serving.key'}"]
    server += [f"--token-auth-file={directory / 'tokens.csv'}", "--v=1", *flags]
    log = (directory / "log").open("ab")
    with contextlib.ExitStack() as stack:
        stack.callback(_stop, subprocess.Popen(etcd, stdout=log, stderr=log))
        time.sleep(1)  # etcd's own start is not what is measured
        fill(url)
        began = time.monotonic()
        process = subprocess.Popen(server, stdout=log, stderr=log)
        stack.callback(_stop, process)
        target = http_load.Target(_PORT, "bench")
        uvloop.run(_wait_ready(target))
        yield target, psutil.Process(process.pid), time.monotonic() - began


def write_kubeconfig(directory: Path, target: http_load.Target, path: Path) -> None:
    """A kubeconfig of the administrator's token, for clients of the library."""
    ca = pki.ensure_ca(directory)
    document = kubeconfig(f"https://127.0.0.1:{target.port}", ca.pem, token=target.token)
    whole_file.replace(path, yaml.safe_dump(document).encode(), 0o600)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(20)


async def _wait_ready(target: http_load.Target) -> None:
    for _ in range(1000):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if await once(target, "GET", "/readyz") == 200:
                return
        await asyncio.sleep(0.02)
    raise TimeoutError("the API server is not ready within 20 s")


async def once(target: http_load.Target, method: str, path: str, document: object = None) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port, ssl=target.tls())
    body = b"" if document is None else json.dumps(document).encode()
    code, _ = await http_load.exchange(reader, writer, target.request(method, path, body))
    writer.close()
    return code


def pod(number: int) -> bytes:
    labels = {"app": "bench", "group": str(number % (_PODS // _LABELLED))}
    container = {"name": "main", "image": "kubeto/busybox:1", "resources": {"requests": {"cpu": "10m"}}}
    spec = {"nodeName": "absent", "containers": [container], "automountServiceAccountToken": False}
    metadata = {"name": f"pod-{number}", "labels": labels}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).encode()


def config_map(number: int) -> bytes:
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"map-{number}"},
        "data": {"key": "value"},
    }
    return json.dumps(document).encode()


async def prepare(target: http_load.Target) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await once(target, "POST", f"{_PATH}/serviceaccounts", account)
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port, ssl=target.tls())
    for number in range(_PODS):
        code, body = await http_load.exchange(reader, writer, target.request("POST", f"{_PATH}/pods", pod(number)))
        if code >= 400:
            raise RuntimeError(f"{code}: {body[:300]!r}")
    writer.close()


async def _reads(target: http_load.Target) -> list[Figure]:
    async def of(path: str, connections: int) -> float:
        request = target.request("GET", f"{_PATH}/{path}")
        return await http_load.rate(target, lambda _: request, connections=connections, seconds=4)

    return [
        Figure("GET one pod", await of("pods/pod-1", 16), "/s", 3 * 2300, True),
        Figure("LIST 1,000 pods, consistent", await of("pods", 4), "/s", 8 * 23, True),
        Figure("LIST 1,000 pods, resourceVersion=0", await of("pods?resourceVersion=0", 4), "/s", 8 * 41, True),
        Figure("LIST 100 of 1,000 pods by label", await of("pods?labelSelector=group%3D3", 4), "/s", 3 * 300, True),
        Figure("LIST 1,000 pods by pages of 100, each", await _by_page(target), "/s", 3 * 300, True),
    ]


async def _by_page(target: http_load.Target) -> float:
    """Pages a second, each in its turn, of lists that 4 connections go through from one state of the pods.

    The goal takes a page of the real server for as dear as its list of as many pods by label, which is no less work.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port, ssl=target.tls(), limit=1 << 24)
    pages = [target.request("GET", f"{_PATH}/pods?limit={_LABELLED}")]
    while len(pages) < _PODS // _LABELLED:
        _, body = await http_load.exchange(reader, writer, pages[-1])
        token = quote(json.loads(body)["metadata"]["continue"])
        pages.append(target.request("GET", f"{_PATH}/pods?limit={_LABELLED}&continue={token}"))
    writer.close()
    return await http_load.rate(target, lambda number: pages[number % len(pages)], connections=4, seconds=4)


def _workers() -> list[Figure]:
    """What a second process adds where the clients of the bench leave it a core (here they share two)."""
    with tempfile.TemporaryDirectory() as folder, api_server(Path(folder), "--workers=2") as (target, process, _):
        uvloop.run(prepare(target))
        request = target.request("GET", f"{_PATH}/pods/pod-1")
        found = uvloop.run(http_load.rate(target, lambda _: request, connections=16, seconds=4))
        held = sum(p.memory_full_info().pss for p in (process, *process.children())) / 1e6
    return [Figure("--workers 2: GET one pod", found, "/s"), Figure("--workers 2: memory, 1,000 pods", held, "MB")]


async def _creates(target: http_load.Target) -> Figure:
    def make(number: int) -> bytes:
        return target.request("POST", f"{_PATH}/configmaps", config_map(number))

    created = await http_load.rate(target, make, connections=16, seconds=4)
    return Figure("CREATE ConfigMap", created, "/s", 1.5 * 950, True)


async def _watch_latency(target: http_load.Target) -> Figure:
    """From sending a write until each watcher has its event; the median over all writes and watchers."""
    arrivals: list[tuple[str, float]] = []
    ready = asyncio.Semaphore(0)

    async def watch() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port, ssl=target.tls(), limit=1 << 24)
        writer.write(target.request("GET", "/api/v1/namespaces/watched/configmaps?watch=1"))
        await reader.readuntil(b"\r\n\r\n")
        ready.release()
        while line := await reader.readline():
            if b'"type"' in line:
                arrivals.append((json.loads(line)["object"]["metadata"]["name"], time.monotonic()))

    await once(
        target, "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "watched"}}
    )
    tasks = [asyncio.create_task(watch()) for _ in range(_WATCHERS)]
    for _ in tasks:
        await ready.acquire()
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port, ssl=target.tls())
    sent: dict[str, float] = {}
    for number in range(_WRITES):
        sent[f"map-{number}"] = time.monotonic()
        request = target.request("POST", "/api/v1/namespaces/watched/configmaps", config_map(number))
        await http_load.exchange(reader, writer, request)
        await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
    latencies = [(at - sent[name]) * 1000 for name, at in arrivals]
    return Figure(f"WATCH, {_WATCHERS} watchers: write to event, p50", statistics.median(latencies), "ms", 0.6 * 6.6)


def run() -> list[Figure]:
    """All figures of the API server alone."""
    with tempfile.TemporaryDirectory() as folder, api_server(Path(folder)) as (target, process, seconds):
        figures = [Figure("API server: start to ready", seconds, "s", 1.5)]
        uvloop.run(prepare(target))
        figures.append(Figure("API server: memory with 1,000 pods", process.memory_info().rss / 1e6, "MB", 140))
        figures += uvloop.run(_reads(target))
        figures.append(uvloop.run(_creates(target)))
        figures.append(uvloop.run(_watch_latency(target)))
    return figures + _workers()


if __name__ == "__main__":
    show(run())
