"""Gives each node a part of the pod network as ``spec.podCIDR``, never the same to two nodes.

All state is in the Node objects; parts of deleted nodes are given out again, the longest unused first.
Source: ``pkg/controller/nodeipam/ipam/range_allocator.go``. Dual stack is left out and refused.
"""

from collections import OrderedDict
from ipaddress import IPv4Network, IPv6Network, ip_network

from apimachinery.client.informer import EventType
from apimachinery.config import ConfigError
from apimachinery.errors import NotFound
from apimachinery.meta import Key, Object, is_deleting, name_of
from apimachinery.scheme import NODES
from master.controller_manager.frame import Context, ManagedController

Network = IPv4Network | IPv6Network


class CidrPool:
    """The parts of a network with a given prefix length. ``holders``: part -> node, each part at most once.

    Pure bookkeeping: ``take`` answers what a node holds or may hold now.
    """

    def __init__(self, network: Network, prefix: int) -> None:
        if not network.prefixlen <= prefix <= network.max_prefixlen:
            raise ValueError(f"a /{prefix} does not fit into {network}")
        self._network, self._prefix = network, prefix
        self._next = 0
        self._count = 2 ** (prefix - network.prefixlen)
        self._freed: OrderedDict[str, None] = OrderedDict()
        self.holders: dict[str, str] = {}
        self._held: dict[str, str] = {}

    def occupy(self, part: str, node: str) -> bool:
        """A node says that it holds a part. False if another does, or if it is not one of the pool's."""
        holder = self.holders.setdefault(part, node)
        if holder != node:
            return False
        if self._held.get(node, part) != part:  # it was to get another, which it did not take
            self.release(node)
            self.holders[part] = node
        self._held[node] = part
        self._freed.pop(part, None)
        return True

    def take(self, node: str) -> str | None:
        """The part of a node, a free one if it has none; None if all are taken."""
        part = self._held.get(node) or self._free()
        if part is not None:
            self.occupy(part, node)
        return part

    def release(self, node: str) -> None:
        """A node is gone."""
        part = self._held.pop(node, None)
        if part is not None:
            del self.holders[part]
            self._freed[part] = None

    def _free(self) -> str | None:
        """Fresh parts first, so that a part rests as long as possible before another node gets it."""
        while self._next < self._count:
            part = str(self._part(self._next))
            self._next += 1
            if part not in self.holders:
                return part
        return next((part for part in self._freed if part not in self.holders), None)

    def _part(self, number: int) -> Network:
        size = 2 ** (self._network.max_prefixlen - self._prefix)
        return ip_network((int(self._network.network_address) + number * size, self._prefix))


def pool_of(cluster_cidr: str, prefix: int) -> CidrPool:
    """Raises ConfigError for a network that cannot be parted."""
    if "," in cluster_cidr:
        raise ConfigError(f"--cluster-cidr {cluster_cidr}: dual stack is not supported, give one network")
    try:
        return CidrPool(ip_network(cluster_cidr), prefix)
    except ValueError as error:
        raise ConfigError(f"--cluster-cidr: {error}") from error


class NodeIpamController(ManagedController):
    """Idle without ``--cluster-cidr``."""

    name = "node-ipam-controller"
    component = "cidrAllocator"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        options = context.options
        self._pool = pool_of(options.cluster_cidr, options.node_cidr_mask_size) if options.cluster_cidr else None
        self._nodes = context.informers.informer(NODES)
        self._nodes.add_handler(self._seen)

    def _seen(self, event: EventType, old: Object | None, new: Object | None) -> None:
        node = new or old or {}
        if self._pool is None:
            return
        if event == "DELETED":
            self._pool.release(name_of(node))
            for waiting in self._nodes.store.list():
                if not (waiting.get("spec") or {}).get("podCIDR"):
                    self.queue.add(("", name_of(waiting)))
            return
        part = (node.get("spec") or {}).get("podCIDR")
        if not part:
            self.queue.add(("", name_of(node)))
        elif not self._pool.occupy(part, name_of(node)):
            holder = self._pool.holders[part]
            self.log.error("Two nodes have one podCIDR", cidr=part, node=name_of(node), holder=holder)

    async def reconcile(self, key: Key) -> None:
        node = self._nodes.store.get(*key)
        if self._pool is None or node is None or is_deleting(node) or (node.get("spec") or {}).get("podCIDR"):
            return
        part = self._pool.take(name_of(node))
        if part is None:
            self.events.event(node, "Warning", "CIDRNotAvailable", "all parts of the cluster CIDR are taken")
            return
        try:
            await self.client.patch(NODES, name_of(node), "", {"spec": {"podCIDR": part, "podCIDRs": [part]}})
        except NotFound:
            self._pool.release(name_of(node))
