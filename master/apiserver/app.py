"""The API server put together: storage, registry, the fronts, and their life from start to drain.

Order of a start: etcd answers -> the cache is filled -> the system's own objects are there -> it listens. Order of a
stop: unready -> (delay) -> no new connections, watches end -> the fronts and the cache close.
"""

import asyncio
import contextlib
import dataclasses
import gc
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from apimachinery import schema, scheme
from apimachinery.config import ClusterAccess
from apimachinery.errors import ServiceUnavailable, Timeout
from apimachinery.lifecycle import Tasks
from apimachinery.logging import get_logger

from . import tls
from .admission import setup as admission
from .admission.forms import Forms
from .admission.plugins.service_account_secret import ServiceAccountSecret
from .admission.policies.status import PolicyStatus
from .aggregation.availability import Availability
from .aggregation.documents import Documents
from .aggregation.registration import Registration
from .audit import setup as audit
from .audit.records import Auditor
from .auth import setup
from .auth.bootstrap import auth_config_data, ensure_auth_config_map, ensure_rbac_defaults
from .fairness import upkeep
from .fairness.fairness import Fairness, Limits
from .fairness.metrics import FairnessMetrics
from .grpc.listeners import Listeners
from .grpc.service import ApiServerService
from .registry import bootstrap
from .registry.binding import BindingAnswer
from .registry.catalog import Catalog
from .registry.custom.controller import CustomKinds
from .registry.eviction import EvictionAnswer
from .registry.kinds import STRATEGIES
from .registry.pipeline import Pipeline
from .registry.reads import Reads
from .registry.servers import Servers
from .registry.service_claims import ServiceClaims
from .registry.store import LoopbackWriter, Registry
from .registry.strategy import Strategy
from .rest import metrics, node_metrics
from .rest.connections import Connections
from .rest.discovery import Discovery
from .rest.front import Front, Identities
from .rest.health import Health, early
from .rest.node_agents import agent_access
from .rest.peer import PeerProtocol, PeerWebSocket
from .rest.resources import Resources
from .settings import Settings
from .storage.cache import WatchCache
from .storage.compaction import compact_regularly
from .storage.etcd import EtcdStorage, wait_until_reachable
from .storage.interface import Unavailable
from .storage.keys import KeySpace

_log = get_logger(__name__)

KEEP_ALIVE_SECONDS = 180
ETCD_CHECK_SECONDS = 2.0
"""Upstream's default of ``--etcd-healthcheck-timeout``."""


class ApiServer:
    """One API server; ``run`` until cancelled."""

    def __init__(self, settings: Settings, worker: int = 0, listening: socket.socket | None = None) -> None:
        """``listening``: the socket that the workers of one server share."""
        self._settings, self._worker, self._listening = settings, worker, listening
        self._draining = False
        self.ready = asyncio.Event()

    async def run(self) -> None:
        started = time.monotonic()
        settings = self._settings
        storage = EtcdStorage(settings.etcd)
        await wait_until_reachable(storage, lambda why: _log.warning("Waiting for etcd", error=why))
        keys = KeySpace(settings.etcd_prefix.rstrip("/") + "/")
        catalog = Catalog(STRATEGIES)
        for kind in node_metrics.KINDS:
            catalog.add(Strategy(kind))
        for kind in (scheme.CORE_EVENTS, scheme.kind_of("events", "events.k8s.io")):
            catalog.strategy(kind).ttl_seconds = int(settings.event_ttl)
        cache = WatchCache(storage, keys, catalog.field_labels)
        metrics.register(metrics.StorageMetrics(cache))
        try:
            async with Tasks() as tasks:
                tasks.start("watch cache", cache.run())
                await cache.ready.wait()
                await self._serve(tasks, storage, cache, keys, catalog, started)
        finally:
            await storage.close()

    async def _serve(
        self,
        tasks: Tasks,
        storage: EtcdStorage,
        cache: WatchCache,
        keys: KeySpace,
        catalog: Catalog,
        started: float,
    ) -> None:
        settings = self._settings
        reads = Reads(storage, cache, keys, catalog)
        auth = self._build_auth(reads)
        connections = Connections(reads, self._agent_access(), settings.proxy_client)
        documents = Documents()
        claimers = {scheme.SERVICES: ServiceClaims(reads, keys, settings.service_cidrs)}
        schemas = schema.load()
        configured = admission.extensions(reads, Forms(catalog, schemas), connections.webhooks, auth.authorizer)
        ca = await asyncio.to_thread(_contents, settings.serving.client_ca_file)
        token_secrets = [ServiceAccountSecret(reads, auth.issuer, ca)] if auth.issuer else []
        chain = admission.build(reads, auth.authorizer, auth.rbac, configured, token_secrets)
        pipeline = Pipeline(storage, reads, keys, catalog, schemas, auth.authorizer, chain, claimers)
        registry = Registry(pipeline)
        registry.answers.update(auth.answers)
        writer = LoopbackWriter(registry)
        registry.answers["", "pods", "binding"] = registry.answers["", "bindings", ""] = BindingAnswer(pipeline)
        registry.answers["", "pods", "eviction"] = EvictionAnswer(registry)
        identities = Identities(auth.authenticators, auth.front_proxies)
        fairness = self._fairness(reads)
        auditor, sinks = audit.build(settings.audit, auth.authorizer)
        api = self._api(registry, auth, identities, fairness, auditor, storage, connections, documents)
        servers = await self._bootstrap(reads, writer)
        tasks.start("API servers", _whatever_etcd_does("API servers", servers.run))
        tasks.start("flow control objects", upkeep.keep(fairness, reads, writer))
        registration = Registration(reads, writer, catalog)
        tasks.start("API registration", _whatever_etcd_does("API registration", registration.run), may_end=True)
        availability = Availability(reads, writer, connections.aggregator, documents)
        tasks.start("API availability", _whatever_etcd_does("API availability", availability.run), may_end=True)
        custom = CustomKinds(registry, connections.webhooks.call)
        custom.serve()
        tasks.start("custom kinds", custom.run(), may_end=True)
        tasks.start("policy status", _whatever_etcd_does("policy status", PolicyStatus(registry).run))
        if settings.compaction_interval:
            tasks.start("compaction", compact_regularly(storage, cache, keys, settings.compaction_interval))
        listeners = Listeners(
            ApiServerService(registry, identities, fairness, auditor), settings.serving, shared=settings.workers > 1
        )
        await listeners.start()
        server = _Server(self._uvicorn(api))
        tasks.start("https", server.serve([self._listening] if self._listening else None), may_end=True)
        while not server.started:
            if server.should_exit:
                raise OSError(f"cannot listen on {settings.serving.bind_address}:{settings.serving.secure_port}")
            await asyncio.sleep(0.005)
        _settle_memory()
        self.ready.set()
        try:
            await servers.join()
            told = {"worker": self._worker, "megabytes": _resident_megabytes()} if settings.workers > 1 else {}
            _log.info("Ready", port=settings.serving.secure_port, seconds=f"{time.monotonic() - started:.2f}", **told)
            await tasks.wait()
        finally:
            await self._drain(server, listeners, cache, servers)
            await connections.close()
            await asyncio.to_thread(sinks.close)

    def _build_auth(self, reads: Reads) -> setup.Auth:
        config = self._settings.auth
        if config.service_account_signing_key_file:
            return setup.build(config, reads)
        with tls.signing_key("") as path:
            return setup.build(dataclasses.replace(config, service_account_signing_key_file=path), reads)

    def _fairness(self, reads: Reads) -> Fairness:
        limits, workers = self._settings.fairness, self._settings.workers
        reading, writing = -(-limits.max_requests // workers), -(-limits.max_mutating_requests // workers)
        if not limits.enabled:
            return Limits(reads, reading, writing)
        fairness = Fairness(reads, reading + writing)
        metrics.register(FairnessMetrics(fairness))
        return fairness

    def _agent_access(self) -> ClusterAccess | None:
        kubelet = self._settings.kubelet
        if not kubelet.client_certificate:
            return None
        return agent_access(kubelet.client_certificate, kubelet.client_key, kubelet.certificate_authority)

    def _api(
        self,
        registry: Registry,
        auth: setup.Auth,
        identities: Identities,
        fairness: Fairness,
        auditor: Auditor | None,
        storage: EtcdStorage,
        connections: Connections,
        documents: Documents,
    ) -> Front:
        serving = self._settings.serving

        async def etcd_answers() -> str:
            try:
                async with asyncio.timeout(ETCD_CHECK_SECONDS):
                    await storage.revision()
            except Unavailable as error:
                return str(error)
            except TimeoutError:
                return f"etcd does not answer within {ETCD_CHECK_SECONDS:g} s"
            return ""

        async def not_draining() -> str:
            return "shutting down" if self._draining else ""

        async def ping() -> str:
            return ""

        live = {"ping": ping, "log": ping, "etcd": etcd_answers}
        ready = {**live, "etcd-readiness": etcd_answers, "shutdown": not_draining}
        inside = {"mtlsPort": serving.grpc_port, "tokenPort": serving.grpc_token_port}
        health = Health(live, ready)

        def application() -> ASGIApp:
            from .rest import application  # with FastAPI, which a cluster's own processes have no need of

            return application.build(auth, registry.catalog, documents, connections.scheduler)

        aggregator = connections.aggregator
        discovery = Discovery(registry.catalog, aggregator.table, documents)
        resources = Resources(registry, discovery, connections.connectors(), aggregator)
        return Front(
            resources,
            resources.width,
            fairness,
            identities,
            auth.authorizer,
            early(health, inside),
            application,
            auditor,
        )

    async def _bootstrap(self, reads: Reads, writer: LoopbackWriter) -> Servers:
        settings = self._settings
        serving = settings.serving
        address = bootstrap.ServerAddress(serving.advertise_address or _own_address(), serving.secure_port)
        await bootstrap.ensure_namespaces(reads, writer)
        await reads.reach("")
        await bootstrap.ensure_objects(reads, writer, settings.service_cidrs, address)
        servers = Servers(reads, writer, address, self._worker)
        await ensure_rbac_defaults(reads, writer)
        await upkeep.ensure_defaults(reads, writer)
        known = auth_config_data(serving.client_ca_file, settings.auth.request_header)
        await ensure_auth_config_map(reads, writer, known)
        return servers

    def _uvicorn(self, api: Front) -> uvicorn.Config:
        serving = self._settings.serving
        config = uvicorn.Config(
            api,
            host=serving.bind_address,
            port=serving.secure_port,
            http=PeerProtocol,
            ws=PeerWebSocket,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=3,
            ssl_certfile=serving.tls_cert_file,
            ssl_keyfile=serving.tls_private_key_file,
        )
        config.load()
        config.ssl = tls.server_context(serving, self._settings.auth.request_header.client_ca_file)
        return config

    async def _drain(self, server: "_Server", listeners: Listeners, cache: WatchCache, servers: Servers) -> None:
        """Unready first, so that load balancers look elsewhere; then end what is under way."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await servers.leave()
        await asyncio.sleep(self._settings.shutdown_delay)
        for bucket in cache.buckets.values():
            bucket.close()
        server.exiting.set()
        await listeners.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await server.stopped.wait()


async def _whatever_etcd_does(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run, and again when the store was away: a loop of ours must not end the server for that."""
    while True:
        try:
            await run()
        except (ServiceUnavailable, Timeout) as error:
            _log.warning("Begins again", task=name, error=str(error))
            await asyncio.sleep(1)
        else:
            return


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the process has one place for that. Set ``exiting`` to end it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.exiting, self.stopped = asyncio.Event(), asyncio.Event()

    async def main_loop(self) -> None:
        """Once a second, for the Date header; uvicorn's own wakes ten times a second, which an idle server pays for."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.exiting.wait(), 1.0)
            self.should_exit = self.should_exit or self.exiting.is_set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().serve(sockets)
        finally:
            self.stopped.set()


def _settle_memory() -> None:
    """What is there now stays: the collector need not look at it again, and need not look often at a cache.

    It looks at what is new before much of that can be garbage: a circle may hold a connection, which is 50 KB.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 100, 50)
    gc.enable()


def _contents(path: str) -> bytes:
    return Path(path).read_bytes() if path else b""


def _resident_megabytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1_000_000


def _own_address() -> str:
    """The address that this host uses towards others; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
