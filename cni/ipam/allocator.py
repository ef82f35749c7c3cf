"""Choose the next free address of a range: pure, so that the choice can be tested without a disk."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network


class RangeFull(Exception):
    """No address of the range is free."""


def gateway_of(network: IPv4Network) -> IPv4Address:
    """The range's first host address, which the node's bridge carries."""
    return network[1]


def next_free(network: IPv4Network, taken: Collection[IPv4Address], last: IPv4Address | None) -> IPv4Address:
    """The first free address after ``last``, around the range's end.

    Going round instead of taking the lowest gives an address just freed the longest rest: peers may still hold
    connections to it. The network's own, the gateway's and the broadcast address are never given.

    Raises RangeFull.
    """
    first, size = 2, network.num_addresses - 3
    if size < 1:
        raise RangeFull(f"{network} is too small for pods")
    start = int(last) - int(network[first]) + 1 if last is not None and last in network else 0
    base = int(network[first])
    for step in range(size):
        candidate = IPv4Address(base + (start + step) % size)
        if candidate not in taken:
            return candidate
    raise RangeFull(f"all {size} addresses of {network} are taken")
