"""One API server's life, from start to drain. ``assembly`` builds it, ``serving`` serves, ``loops`` run beside.

Order of a start: etcd answers -> the cache is filled -> the system's own objects are there -> it listens. Order of a
stop: unready -> (delay) -> no new connections, watches end -> the fronts and the cache close.
"""

import asyncio
import contextlib
import gc
import os
import socket
import time

from apimachinery.lifecycle import Tasks
from apimachinery.logging import get_logger

from . import loops, serving
from .assembly import Assembly, Store, assemble
from .grpc.listeners import Listeners
from .grpc.service import ApiServerService
from .registry.servers import Servers
from .settings import Settings
from .storage.etcd import wait_until_reachable

_log = get_logger(__name__)


class ApiServer:
    """One API server; ``run`` until cancelled."""

    def __init__(self, settings: Settings, worker: int = 0, listening: socket.socket | None = None) -> None:
        """``listening``: the socket that the workers of one server share."""
        self._settings, self._worker, self._listening = settings, worker, listening
        self._draining = False

    async def run(self) -> None:
        started = time.monotonic()
        store = Store(self._settings)
        try:
            await wait_until_reachable(store.storage, lambda why: _log.warning("Waiting for etcd", error=why))
            async with Tasks() as tasks:
                tasks.start("watch cache", store.cache.run())
                await store.cache.ready.wait()
                await self._serve(tasks, await assemble(self._settings, store), started)
        finally:
            await store.storage.close()

    async def _serve(self, tasks: Tasks, parts: Assembly, started: float) -> None:
        settings = self._settings
        front = serving.front(parts, lambda: self._draining)
        await loops.make_own_objects(parts)
        servers = Servers(parts.store.reads, parts.writer, parts.address, self._worker)
        loops.start(tasks, parts, servers)
        service = ApiServerService(parts.registry, parts.identities, parts.fairness, parts.auditor)
        listeners = Listeners(service, settings.serving, shared=settings.workers > 1)
        await listeners.start()
        server = serving.HttpsServer(front, settings)
        tasks.start("https", server.serve([self._listening] if self._listening else None), may_end=True)
        await server.until_started()
        _settle_memory()
        try:
            await servers.join()
            told = {"worker": self._worker, "megabytes": _resident_megabytes()} if settings.workers > 1 else {}
            _log.info("Ready", port=settings.serving.secure_port, seconds=f"{time.monotonic() - started:.2f}", **told)
            await tasks.wait()
        finally:
            await self._drain(server, listeners, parts, servers)
            await parts.connections.close()
            await asyncio.to_thread(parts.sinks.close)

    async def _drain(
        self, server: serving.HttpsServer, listeners: Listeners, parts: Assembly, servers: Servers
    ) -> None:
        """Unready first, so that load balancers look elsewhere; then end what is under way."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await servers.leave()
        await asyncio.sleep(self._settings.shutdown_delay)
        for bucket in parts.store.cache.buckets.values():
            bucket.close()
        server.exiting.set()
        await listeners.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await server.stopped.wait()


def _settle_memory() -> None:
    """What is there now stays: the collector need not look at it again, and need not look often at a cache.

    It looks at what is new before much of that can be garbage: a circle may hold a connection, which is 50 KB.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 100, 50)
    gc.enable()


def _resident_megabytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1_000_000
