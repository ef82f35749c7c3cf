"""The node's place in the pod network: routes to the other nodes' pods, the way out, and what must never leave.

Guarantees, from the Nodes, the ServiceCIDRs and the node's own namespace alone, and repaired when altered:
- pods of another node are reached by way of its InternalIP, which must be on a network of ours;
- packets for a pod address that no node has are refused here: the cluster's range as a whole is unreachable, and only
  existing nodes' ranges are routed. Packets for a service address that the proxy did not translate end in a link that
  leads nowhere. Neither depends on any nftables rule, so none of them can leave by an uplink;
- that same link carries the cluster DNS address, where this node's own DNS server listens;
- pods reach the outside with the node's address (source NAT).

Our routes carry a protocol number of their own: what has it and is not wanted goes, all else is left alone.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network

from apimachinery import nft, sysctl
from apimachinery.backoff import Backoff
from apimachinery.client.informer import EventType, InformerFactory
from apimachinery.logging import get_logger
from apimachinery.meta import Object, name_of
from apimachinery.netlink import ROUTE_CHANGES, SCOPE_HOST, SCOPE_LINK, UNREACHABLE, Address, Link, Netlink, Route
from apimachinery.nft import NftError
from apimachinery.scheme import NODES
from apimachinery.service_cidrs import SERVICE_CIDRS, networks

_log = get_logger(__name__)

PROTOCOL = 75
"""Marks our routes (``ip route show proto 75``)."""
SINK = "kubeto-svc"
"""A bridge without ports: up, so that routes may use it, and what is sent to it is gone. (Not every kernel has the
``dummy`` driver; bridges every pod network needs.)"""
_SINK_MAC = "0a:58:00:00:00:01"
_MTU = 1500
_TABLE = "kubeto-egress"
_RECHECK_SECONDS = 60.0
_SETTLE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class RoutesConfig:
    """``cluster_cidr`` holds all pods, ``service_cidr`` the services that are in no other ServiceCIDR; ``cluster_dns``
    "" = no address for DNS."""

    node_name: str
    cluster_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/16"
    cluster_dns: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """``routes`` are complete but for the sink's index; ``masquerade`` is an nftables script ("" = not yet known)."""

    routes: frozenset[Route]
    masquerade: str


def plan(nodes: Iterable[Object], config: RoutesConfig, service_cidrs: Iterable[Object] = ()) -> Plan:
    """What this node needs, given all Nodes and ServiceCIDRs. A node without podCIDR or InternalIP has no route yet;
    should two claim one range, the first by name has it."""
    routes = {config.cluster_cidr: Route(config.cluster_cidr, type=UNREACHABLE, protocol=PROTOCOL)}
    masquerade = ""
    for node in sorted(nodes, key=name_of):
        address, cidr = facts(node)
        if node["metadata"]["name"] != config.node_name:
            if address and cidr:
                routes.setdefault(cidr, Route(cidr, via=address, protocol=PROTOCOL))
            continue
        masquerade = _masquerade(cidr, config.cluster_cidr) if cidr else ""
        if address:
            blocks = {str(n) for c in service_cidrs for n in networks(c) if n.version == 4}
            for block in blocks | {config.service_cidr}:
                routes[block] = Route(block, source=address, scope=SCOPE_LINK, protocol=PROTOCOL)
    return Plan(frozenset(routes.values()), masquerade)


def facts(node: Object) -> tuple[str, str]:
    """InternalIP and podCIDR (IPv4), each "" if unknown or of another family."""
    addresses = (node.get("status") or {}).get("addresses") or ()
    internal = (each["address"] for each in addresses if each.get("type") == "InternalIP")
    spec = node.get("spec") or {}
    cidrs = spec.get("podCIDRs") or [spec.get("podCIDR") or ""]
    return next((a for a in internal if ":" not in a), ""), next((c for c in cidrs if c and ":" not in c), "")


def _masquerade(pod_cidr: str, cluster_cidr: str) -> str:
    return f"""
add table ip {_TABLE}
add chain ip {_TABLE} postrouting {{ type nat hook postrouting priority 100 ; }}
flush chain ip {_TABLE} postrouting
add rule ip {_TABLE} postrouting ip saddr {IPv4Network(pod_cidr)} ip daddr != {IPv4Network(cluster_cidr)} masquerade
"""


class Routes:
    """Makes the namespace as a ``Plan`` says. All methods block and belong to one thread at a time."""

    def __init__(self, config: RoutesConfig) -> None:
        self._config = config
        self._refused: set[Route] = set()  # and said so once
        self._forwarding = True  # as far as we have said
        self.rules_in_doubt = True
        """Whether our table may be other than we left it. Looking takes a process; links change with every pod."""
        self._applied = ("", "")  # the masquerade script and what nft then showed

    def reconcile(self, wanted: Plan) -> None:
        """Raises OSError, NftError; one route that the kernel refuses is logged and keeps no other from its place."""
        self._ensure_forwarding()
        with Netlink() as netlink:
            sink = self._ensure_sink(netlink)
            self._ensure_routes(netlink, {_at_sink(route, sink) for route in wanted.routes})
        self._ensure_masquerade(wanted.masquerade)

    def _ensure_forwarding(self) -> None:
        sysctl.ensure("net/bridge/bridge-nf-call-iptables", "1")  # for other CNI plugins' bridges; ours does without
        able = sysctl.ensure("net/ipv4/ip_forward", "1")
        if self._forwarding and not able:
            _log.error("The kernel does not forward packets and /proc/sys cannot be written: pods have no network")
        self._forwarding = able

    def _ensure_sink(self, netlink: Netlink) -> Link:
        sink = netlink.link(SINK)
        if sink is None:
            netlink.create_bridge(SINK, _SINK_MAC, _MTU)
            sink = netlink.link(SINK)
        if sink is None:
            raise OSError(f"link {SINK} vanished while it was made")
        if not sink.up:
            netlink.set_link(sink.index, up=True)
        if self._config.cluster_dns:
            wanted = Address(sink.index, self._config.cluster_dns, 32)
            if wanted not in netlink.addresses(sink.index):
                netlink.add_address(wanted, SCOPE_HOST)  # of host scope: never chosen as a source by itself
        return sink

    def _ensure_routes(self, netlink: Netlink, wanted: set[Route]) -> None:
        present = {_as_wanted(route) for route in netlink.routes() if route.protocol == PROTOCOL}
        for route in wanted - present:
            try:
                netlink.replace_route(route)
                _log.info("Set route", destination=route.destination, via=route.via or None)
            except OSError as error:
                if route not in self._refused:
                    _log.warning("Route refused", destination=route.destination, via=route.via, error=error.strerror)
                self._refused.add(route)
        self._refused &= wanted
        kept = {route.destination for route in wanted}
        for route in present - wanted:
            if route.destination not in kept:
                netlink.delete_route(route)
                _log.info("Removed route", destination=route.destination, via=route.via or None)

    def _ensure_masquerade(self, script: str) -> None:
        if not script or (script == self._applied[0] and not self.rules_in_doubt):
            return
        self.rules_in_doubt = False
        if (script, self._shown()) != self._applied:
            nft.apply(script)
            self._applied = script, self._shown()

    def _shown(self) -> str:
        return nft.show("list", "table", "ip", _TABLE) or ""


def remove() -> None:
    """Take all of it out of the caller's namespace: nothing is left behind. Raises OSError, NftError."""
    with Netlink() as netlink:
        for route in netlink.routes():
            if route.protocol == PROTOCOL:
                netlink.delete_route(route)
        sink = netlink.link(SINK)
        if sink is not None:
            netlink.delete_link(sink.index)
    nft.apply(f"add table ip {_TABLE}\ndelete table ip {_TABLE}\n")


def _at_sink(route: Route, sink: Link) -> Route:
    """Fill in what only the namespace knows: service routes (those with a source) lead to the sink."""
    return route._replace(link=sink.index) if route.source else route


def _as_wanted(route: Route) -> Route:
    """A route as read, in the form of ours: with a next hop, the kernel adds the link that it found."""
    return route._replace(link=0) if route.via else route


async def run(informers: InformerFactory, config: RoutesConfig) -> None:
    """Keep the namespace as Nodes and ServiceCIDRs ask until cancelled. What it made stays: pods outlive the agent."""
    nodes, cidrs = informers.informer(NODES), informers.informer(SERVICE_CIDRS)
    changed = asyncio.Event()
    changed.set()

    def on_node(_: EventType, old: Object | None, new: Object | None) -> None:
        if (old and facts(old)) != (new and facts(new)):  # most updates are heartbeats
            changed.set()

    nodes.add_handler(on_node)
    cidrs.add_handler(lambda *_: changed.set())
    await nodes.wait_synced()
    routes = Routes(config)

    def on_rules() -> None:
        routes.rules_in_doubt = True
        changed.set()

    with _kernel_changes(changed.set, on_rules):
        await _keep(routes, lambda: plan(nodes.store.list(), config, cidrs.store.list()), changed)


@contextmanager
def _kernel_changes(on_links: Callable[[], None], on_rules: Callable[[], None]) -> Iterator[None]:
    """Tell of changes to links, addresses and routes, and to our table."""
    loop, links, rules = asyncio.get_running_loop(), Netlink(groups=ROUTE_CHANGES), nft.Changes()

    def read_links() -> None:
        links.drain()
        on_links()

    def read_rules() -> None:
        if rules.tables() & {_TABLE, "*"}:
            on_rules()

    loop.add_reader(links.fileno(), read_links)
    loop.add_reader(rules.fileno(), read_rules)
    try:
        yield
    finally:
        for each in (links, rules):
            loop.remove_reader(each.fileno())
            each.close()


async def _keep(routes: Routes, wanted: Callable[[], Plan], changed: asyncio.Event) -> None:
    backoff = Backoff(initial=0.5, maximum=30.0)
    while True:
        try:
            async with asyncio.timeout(_RECHECK_SECONDS):
                await changed.wait()
                await asyncio.sleep(_SETTLE_SECONDS)
        except TimeoutError:
            routes.rules_in_doubt = True  # nothing heard for long: look anyway
        changed.clear()
        try:
            await asyncio.to_thread(routes.reconcile, wanted())
            backoff.reset()
        except (OSError, NftError) as error:
            _log.error("Routes could not be set, trying again", error=str(error))
            await asyncio.sleep(backoff.next())
            changed.set()
