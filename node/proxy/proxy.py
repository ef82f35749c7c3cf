"""Watch Services and EndpointSlices, and keep the table as they ask.

Level-based: events only mark Services as dirty; a round plans those anew, compares the merged plan with the one
applied and sends the difference as one transaction. Whatever throws doubt on what the kernel holds (a refused
transaction, a change by someone else, the start) makes the next round replace the whole table, again as one.
"""

import asyncio
from dataclasses import dataclass

from apimachinery import nft
from apimachinery.backoff import Backoff
from apimachinery.client.informer import EventType, Informer, InformerFactory
from apimachinery.logging import get_logger
from apimachinery.meta import Key, Object, key_of
from apimachinery.netlink import conntrack
from apimachinery.nft import NftError
from apimachinery.scheme import ENDPOINT_SLICES, SERVICES
from node.proxy import model, script
from node.proxy.plan import Rules, plan

_log = get_logger(__name__)

_COALESCE_SECONDS = 0.05
_RECHECK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """``cluster_cidr`` holds all pods of the cluster."""

    node_name: str
    cluster_cidr: str = "10.244.0.0/16"


class Proxy:
    """The table of one network namespace: the one in which it is used."""

    def __init__(self, informers: InformerFactory, config: ProxyConfig) -> None:
        self._config = config
        self._services: Informer = informers.informer(SERVICES)
        self._slices: Informer = informers.informer(ENDPOINT_SLICES)
        self._slices.add_index(model.BY_SERVICE, model.service_of)
        self._changes = nft.Changes()
        self._plans: dict[Key, Rules] = {}
        # What the kernel holds as far as we know; None: not known.
        self._applied: Rules | None = None
        # Services whose entry in _plans may be out of date.
        self._dirty: set[Key] = set()
        # Word of rule changes that arrives meanwhile is of our own.
        self._applying = False
        self._wake = asyncio.Event()
        self._services.add_handler(self._on_service)
        self._slices.add_handler(self._on_slice)

    async def run(self) -> None:
        """Until cancelled; the rules stay then: pods outlive the agent."""
        for informer in (self._services, self._slices):
            await informer.wait_synced()  # an incomplete picture must never replace a table in use
        loop, backoff = asyncio.get_running_loop(), Backoff(initial=0.2, maximum=10.0)
        loop.add_reader(self._changes.fileno(), self._on_kernel)
        try:
            while True:
                try:
                    await self._round()
                    backoff.reset()
                except NftError as error:
                    _log.error("Rules refused, replacing the whole table", error=str(error))
                    self._applied = None
                    await asyncio.sleep(backoff.next())
                    continue
                await self._next_event()
        finally:
            loop.remove_reader(self._changes.fileno())
            self._changes.close()

    async def _next_event(self) -> None:
        try:
            async with asyncio.timeout(_RECHECK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            await self._check_presence()
        self._wake.clear()
        await asyncio.sleep(_COALESCE_SECONDS)

    async def _check_presence(self) -> None:
        """Should word of a deletion have been lost among our own changes."""
        if await asyncio.to_thread(nft.show, "list", "chain", "ip", script.TABLE, "prerouting") is None:
            self._applied = None

    async def _round(self) -> None:
        """Bring the kernel up to date. Raises NftError."""
        dirty, self._dirty = self._dirty, set()
        for key in dirty:
            self._replan(key)
        wanted = _merge(self._plans)
        before = self._applied
        text = script.replace(wanted) if before is None else script.change(before, wanted)
        if not text:
            return
        self._applying = True
        try:
            await asyncio.to_thread(nft.apply, text)
        finally:
            self._changes.tables()  # that was us
            self._applying = False
        self._applied = wanted
        _log.debug("Applied rules", whole=before is None, services=len(self._plans), changed=len(dirty))
        await self._forget_flows(before, wanted)

    async def _forget_flows(self, before: Rules | None, after: Rules) -> None:
        old = before.udp if before is not None else {}
        fronts = {**dict.fromkeys(old, frozenset()), **after.udp}
        changed = {front: targets for front, targets in fronts.items() if old.get(front) != targets}
        if not changed:
            return
        try:
            count = await asyncio.to_thread(conntrack.forget_stale, changed)
        except OSError as error:
            _log.error("Stale UDP flows could not be deleted", error=str(error))
            return
        if count:
            _log.info("Deleted stale UDP flows", count=count)

    def _replan(self, key: Key) -> None:
        service = self._services.store.get(*key)
        if service is None:
            self._plans.pop(key, None)
            return
        slices = self._slices.store.by_index(model.BY_SERVICE, "/".join(key))
        ports = model.service_ports(service, slices, self._config.node_name)
        self._plans[key] = plan(ports, self._config.cluster_cidr)

    def _on_service(self, event: EventType, old: Object | None, new: Object | None) -> None:
        self._mark(key_of(new or old or {}))

    def _on_slice(self, event: EventType, old: Object | None, new: Object | None) -> None:
        for each in (old, new):
            for name in model.service_of(each) if each else ():
                namespace, _, service = name.partition("/")
                self._mark((namespace, service))

    def _on_kernel(self) -> None:
        if self._changes.tables() & {script.TABLE, "*"} and not self._applying:
            _log.warning("Someone else changed our table, replacing it", table=script.TABLE)
            self._applied = None
            self._wake.set()

    def _mark(self, key: Key) -> None:
        self._dirty.add(key)
        self._wake.set()


def remove() -> None:
    """Take the proxy's table out of the caller's namespace: nothing is left behind. Raises NftError."""
    nft.apply(f"add table ip {script.TABLE}\ndelete table ip {script.TABLE}\n")


def _merge(plans: dict[Key, Rules]) -> Rules:
    """In a fixed order, so that of two Services that claim one node port the same one always has it."""
    merged = Rules()
    for key in sorted(plans):
        merged.merge(plans[key])
    return merged


async def run(informers: InformerFactory, config: ProxyConfig) -> None:
    """Proxy Services in the caller's network namespace until cancelled."""
    await Proxy(informers, config).run()
