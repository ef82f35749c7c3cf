"""What runs beside the requests: the system's own objects, made first, and the loops that keep state as declared."""

import asyncio
from collections.abc import Awaitable, Callable

from apimachinery.errors import ServiceUnavailable, Timeout
from apimachinery.lifecycle import Tasks
from apimachinery.logging import get_logger

from .admission.policies.status import PolicyStatus
from .aggregation.availability import Availability
from .aggregation.registration import Registration
from .assembly import Assembly
from .auth.bootstrap import auth_config_data, ensure_auth_config_map, ensure_rbac_defaults
from .fairness import upkeep
from .registry import bootstrap
from .registry.custom.controller import CustomKinds
from .registry.servers import Servers
from .storage.compaction import compact_regularly

_log = get_logger(__name__)


async def make_own_objects(server: Assembly) -> None:
    """What a cluster has from its first start on, made where it is missing."""
    settings, reads, writer = server.settings, server.store.reads, server.writer
    serving = settings.serving
    await bootstrap.ensure_namespaces(reads, writer)
    await reads.reach("")
    await bootstrap.ensure_objects(reads, writer, settings.service_cidrs, server.address)
    await ensure_rbac_defaults(reads, writer)
    await upkeep.ensure_defaults(reads, writer)
    known = auth_config_data(serving.client_ca_file, settings.request_header)
    await ensure_auth_config_map(reads, writer, known)


def start(tasks: Tasks, server: Assembly, servers: Servers) -> None:
    """Start them all; custom kinds that are there already are served when this returns."""
    store, writer, connections = server.store, server.writer, server.connections
    reads = store.reads

    def start_again(name: str, run: Callable[[], Awaitable[None]], *, may_end: bool = False) -> None:
        tasks.start(name, _whatever_etcd_does(name, run), may_end=may_end)

    start_again("API servers", servers.run)
    tasks.start("flow control objects", upkeep.keep(server.fairness, reads, writer))
    start_again("API registration", Registration(reads, writer, store.catalog).run, may_end=True)
    availability = Availability(reads, writer, connections.aggregator, server.documents)
    start_again("API availability", availability.run, may_end=True)
    custom = CustomKinds(server.registry, connections.webhooks.call)
    custom.serve()
    tasks.start("custom kinds", custom.run(), may_end=True)
    start_again("policy status", PolicyStatus(server.registry).run)
    if interval := server.settings.compaction_interval:
        tasks.start("compaction", compact_regularly(store.storage, store.cache, store.keys, interval))


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
