"""Forget UDP flows that lead where no endpoint is any more.

UDP has no end of connection: as long as a client keeps sending from one port, the kernel keeps translating to the
endpoint it chose first, also when that is gone (or keeps *not* translating, when there was no endpoint yet).
"""

import errno
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from apimachinery.netlink import wire

Target = tuple[str, int]
"""Address and port."""

# linux/netfilter/nfnetlink_conntrack.h
_GET, _DELETE = 0x0101, 0x0102
_TUPLE_ORIGINAL, _TUPLE_REPLY, _TUPLE_IP, _TUPLE_PROTOCOL = 1, 2, 1, 2
_IP_SOURCE, _IP_DESTINATION = 1, 2
_PROTOCOL_NUMBER, _PORT_SOURCE, _PORT_DESTINATION = 1, 2, 3
_HEADER = struct.pack("=BBH", socket.AF_INET, 0, 0)


@dataclass(frozen=True, slots=True)
class Flow:
    """A tracked UDP flow: what the client addressed, who answers, and the kernel's key of it."""

    front: Target
    answering: Target
    key: bytes


def stale(flows: Iterable[Flow], fronts: Mapping[Target, frozenset[Target]]) -> list[Flow]:
    """The flows to ``fronts`` that are not answered by one of the front's endpoints.

    A front with address "" is a node port: only flows that were translated count, for any address may be meant.
    """
    gone = []
    for flow in flows:
        targets = fronts.get(flow.front)
        if targets is None and flow.answering != flow.front:
            targets = fronts.get(("", flow.front[1]))
        if targets is not None and flow.answering not in targets:
            gone.append(flow)
    return gone


def forget_stale(fronts: Mapping[Target, frozenset[Target]]) -> int:
    """Delete the stale flows of the caller's namespace; returns how many. Raises OSError."""
    netlink = wire.Socket(wire.NETFILTER)
    try:
        found = [_decode(body) for body in netlink.exchange(_GET, wire.REQUEST | wire.DUMP, _HEADER)]
        gone = stale((flow for flow in found if flow), fronts)
        for flow in gone:
            _delete(netlink, flow)
    finally:
        netlink.close()
    return len(gone)


def _delete(netlink: wire.Socket, flow: Flow) -> None:
    try:
        netlink.exchange(_DELETE, wire.REQUEST | wire.ACK, _HEADER + wire.nest(_TUPLE_ORIGINAL, flow.key))
    except OSError as error:
        if error.errno != errno.ENOENT:  # it ended by itself
            raise


def _decode(body: bytes) -> Flow | None:
    attributes = wire.attributes(body[len(_HEADER) :])
    original, reply = attributes.get(_TUPLE_ORIGINAL, b""), attributes.get(_TUPLE_REPLY, b"")
    if wire.attributes(_protocol(original)).get(_PROTOCOL_NUMBER) != bytes([socket.IPPROTO_UDP]):
        return None
    front = _target(original, _IP_DESTINATION, _PORT_DESTINATION)
    return Flow(front, _target(reply, _IP_SOURCE, _PORT_SOURCE), original)


def _protocol(tuple_: bytes) -> bytes:
    return wire.attributes(tuple_).get(_TUPLE_PROTOCOL, b"")


def _target(tuple_: bytes, address: int, port: int) -> Target:
    ip = wire.attributes(wire.attributes(tuple_)[_TUPLE_IP])[address]
    return socket.inet_ntoa(ip), struct.unpack("!H", wire.attributes(_protocol(tuple_))[port])[0]
