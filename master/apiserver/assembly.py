"""What is built: the parts of one API server, put together from its settings. Nothing here runs yet."""

import asyncio
import dataclasses
import socket
from dataclasses import dataclass
from pathlib import Path

from apimachinery import schema, scheme
from apimachinery.config import ClusterAccess

from . import tls
from .admission import setup as admission
from .admission.forms import Forms
from .admission.plugins.service_account_secret import ServiceAccountSecret
from .aggregation.documents import Documents
from .audit import setup as audit
from .audit.records import Auditor
from .audit.sinks import Sinks
from .auth import setup as auth
from .auth.request_header import FrontProxies
from .fairness.fairness import Fairness, Limits
from .fairness.metrics import FairnessMetrics
from .registry.binding import BindingAnswer
from .registry.bootstrap import ServerAddress
from .registry.catalog import Catalog
from .registry.component_statuses import ComponentStatuses
from .registry.eviction import EvictionAnswer
from .registry.kinds import STRATEGIES
from .registry.pipeline import Pipeline
from .registry.reads import Reads
from .registry.service_claims import ServiceClaims
from .registry.store import LoopbackWriter, Registry
from .registry.strategy import Strategy
from .rest import metrics, node_metrics
from .rest.connections import Connections
from .rest.front import Identities
from .rest.node_agents import agent_access
from .settings import FairnessSettings, KubeletSettings, Settings
from .storage.cache import WatchCache
from .storage.etcd import EtcdStorage
from .storage.keys import KeySpace


class Store:
    """What is kept, and what kinds there are: all that the watch cache needs to be filled."""

    def __init__(self, settings: Settings) -> None:
        self.storage = EtcdStorage(settings.etcd)
        self.keys = KeySpace(settings.etcd_prefix.rstrip("/") + "/")
        self.catalog = Catalog(STRATEGIES)
        for kind in node_metrics.KINDS:
            self.catalog.add(Strategy(kind))
        for kind in (scheme.CORE_EVENTS, scheme.kind_of("events", "events.k8s.io")):
            self.catalog.strategy(kind).ttl_seconds = int(settings.event_ttl)
        self.cache = WatchCache(self.storage, self.keys, self.catalog.field_labels)
        self.reads = Reads(self.storage, self.cache, self.keys, self.catalog)
        metrics.register(metrics.StorageMetrics(self.cache))


@dataclass(frozen=True, slots=True)
class Assembly:
    """One API server's parts: what a request passes through, and what it may lead to."""

    settings: Settings
    address: ServerAddress
    store: Store
    auth: auth.Auth
    identities: Identities
    fairness: Fairness
    auditor: Auditor | None
    sinks: Sinks
    registry: Registry
    writer: LoopbackWriter
    connections: Connections
    documents: Documents


async def assemble(settings: Settings, store: Store) -> Assembly:
    """Raises OSError, ValueError, ConfigError for files that are not what they should be."""
    reads = store.reads
    checks = _auth(settings.auth, reads)
    connections = Connections(reads, _agent_access(settings.kubelet), settings.proxy_client)
    ca = await asyncio.to_thread(_contents, settings.serving.client_ca_file)
    registry = _registry(settings, store, checks, connections, ca)
    front_proxies = FrontProxies.load(settings.request_header, settings.serving.client_ca_file)
    auditor, sinks = audit.build(settings.audit, checks.authorizer)
    return Assembly(
        settings=settings,
        address=ServerAddress(settings.serving.advertise_address or _own_address(), settings.serving.secure_port),
        store=store,
        auth=checks,
        identities=Identities(checks.authenticators, front_proxies),
        fairness=_fairness(settings.fairness, settings.workers, reads),
        auditor=auditor,
        sinks=sinks,
        registry=registry,
        writer=LoopbackWriter(registry),
        connections=connections,
        documents=Documents(),
    )


def _own_address() -> str:
    """The address that this host uses towards others; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _registry(settings: Settings, store: Store, checks: auth.Auth, connections: Connections, ca: bytes) -> Registry:
    """The write pipeline with its admission; ``ca``, PEM, goes into the secrets of service accounts."""
    reads, schemas = store.reads, schema.load()
    configured = admission.extensions(reads, Forms(store.catalog, schemas), connections.webhooks, checks.authorizer)
    token_secrets = [ServiceAccountSecret(reads, checks.issuer, ca)]
    chain = admission.build(reads, checks.authorizer, checks.rbac, configured, token_secrets)
    claimers = {scheme.SERVICES: ServiceClaims(reads, store.keys, settings.service_cidrs)}
    pipeline = Pipeline(store.storage, reads, store.keys, store.catalog, schemas, checks.authorizer, chain, claimers)
    registry = Registry(pipeline)
    registry.answers.update(checks.answers)
    registry.answers["", "pods", "binding"] = registry.answers["", "bindings", ""] = BindingAnswer(pipeline)
    registry.answers["", "pods", "eviction"] = EvictionAnswer(registry)
    registry.computed.update(connections.metrics.computed())
    registry.computed["", "componentstatuses"] = ComponentStatuses(store.storage, reads)
    return registry


def _auth(config: auth.AuthConfig, reads: Reads) -> auth.Auth:
    with tls.signing_key(config.service_account_signing_key_file) as path:
        return auth.build(dataclasses.replace(config, service_account_signing_key_file=path), reads)


def _fairness(settings: FairnessSettings, workers: int, reads: Reads) -> Fairness:
    """Each worker has its share of the requests in flight."""
    reading, writing = -(-settings.max_requests // workers), -(-settings.max_mutating_requests // workers)
    if not settings.enabled:
        return Limits(reads, reading, writing)
    fairness = Fairness(reads, reading + writing)
    metrics.register(FairnessMetrics(fairness))
    return fairness


def _agent_access(kubelet: KubeletSettings) -> ClusterAccess | None:
    if not kubelet.client_certificate:
        return None
    return agent_access(kubelet.client_certificate, kubelet.client_key, kubelet.certificate_authority)


def _contents(path: str) -> bytes:
    return Path(path).read_bytes() if path else b""
