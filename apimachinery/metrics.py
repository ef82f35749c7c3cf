"""Metrics in Prometheus' format, and the small loopback server that offers them with health checks."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from apimachinery.logging import get_logger

_log = get_logger(__name__)

Check = Callable[[], str]
"""Gives "" when all is well, else what is wrong."""

# A reconcile reads caches (well under a millisecond), writes (a few), or waits for a slow peer (seconds).
_RECONCILE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30)
_REQUEST_BYTES = 8192
_REQUEST_SECONDS = 5.0


def new_registry() -> CollectorRegistry:
    """A registry with the process' own figures (memory, CPU, open files)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


@dataclass(frozen=True, eq=False)
class _Made(Collector):
    families: tuple[Metric, ...]

    def collect(self) -> Iterable[Metric]:
        return self.families


def exposition(families: Iterable[Metric]) -> bytes:
    """Families that were made for the moment, as text."""
    registry = CollectorRegistry()
    registry.register(_Made(tuple(families)))
    return generate_latest(registry)


class ControllerMetrics:
    """What controllers report of their reconciles."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["controller"]
        self._total = Counter("controller_reconcile_total", "Reconciles", [*labels, "result"], registry=registry)
        self._seconds = Histogram(
            "controller_reconcile_seconds", "Time per reconcile", labels, registry=registry, buckets=_RECONCILE_BUCKETS
        )
        self._depth = Gauge("workqueue_depth", "Keys that wait", ["name"], registry=registry)

    def observe(self, controller: str, result: str, seconds: float) -> None:
        self._total.labels(controller, result).inc()
        self._seconds.labels(controller).observe(seconds)

    def watch_depth(self, name: str, depth: Callable[[], int]) -> None:
        """Report the length of a queue whenever metrics are read."""
        self._depth.labels(name).set_function(depth)


class HealthServer:
    """``/metrics``, ``/healthz``, ``/livez`` and ``/readyz`` in clear text, for loopback only."""

    def __init__(self, registry: CollectorRegistry, checks: Mapping[str, Check] | None = None) -> None:
        self._registry = registry
        self._checks = dict(checks or {})
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; port 0 picks one. Returns the port. Raises OSError if it is taken."""
        self._server = await asyncio.start_server(self._serve, host, port, reuse_port=False)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                code, kind, body = self._answer(head[:_REQUEST_BYTES].split(b" ", 2)[1].decode())
                writer.write(
                    f"HTTP/1.1 {code}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                    "Connection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, IndexError) as error:
            _log.debug("Health request failed", error=repr(error))
        finally:
            writer.close()

    def _answer(self, target: str) -> tuple[str, str, bytes]:
        path = target.partition("?")[0]
        if path == "/metrics":
            return "200 OK", "text/plain; version=0.0.4", generate_latest(self._registry)
        if path not in {"/healthz", "/livez", "/readyz"}:
            return "404 Not Found", "text/plain", b"not found\n"
        wrong = {name: text for name, check in self._checks.items() if (text := check())}
        if wrong and path != "/livez":
            body = "".join(f"{name}: {text}\n" for name, text in wrong.items())
            return "503 Service Unavailable", "text/plain", body.encode()
        return "200 OK", "text/plain", b"ok"
