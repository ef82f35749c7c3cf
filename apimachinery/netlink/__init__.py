"""Links, addresses and routes of one network namespace, over rtnetlink (rtnetlink(7), IPv4 only).

A socket belongs for ever to the namespace it was opened in, so one process can hold several. All calls block for
microseconds and raise ``OSError`` with the kernel's errno and, where it gives one, its explanation.

Why not a library: a CNI plugin is a process started for every pod, and importing pyroute2 alone takes longer
(300 ms) than the whole of attaching a pod may; it would also sit in each node agent's memory.
"""

import errno
import os
import socket
import struct
from types import TracebackType
from typing import NamedTuple, Self

from apimachinery.netlink import wire
from apimachinery.netlink.wire import in_namespace as in_namespace

# linux/rtnetlink.h
_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER = 1, 3, 4, 10
_IFLA_PROTINFO, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 12, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER, _BRPORT_HAIRPIN = 1, 2, 1, 4
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 5, 7, 15
_AF_BRIDGE = 7
_TABLE_MAIN = 254
_IFINFO, _IFADDR, _RTMSG = struct.Struct("=BxHiII"), struct.Struct("=BBBBI"), struct.Struct("=BBBBBBBBI")
ROUTE_CHANGES = 0x1 | 0x10 | 0x40
"""Groups for ``Netlink(groups=...)``: links, IPv4 addresses and IPv4 routes (RTMGRP_*)."""

SCOPE_GLOBAL, SCOPE_LINK, SCOPE_HOST = 0, 253, 254
UNICAST, UNREACHABLE = 1, 7
PROTOCOL_BOOT = 3


class Link(NamedTuple):
    index: int  # type: ignore[assignment]  # it hides a method of tuples that nobody calls
    name: str
    mac: str
    mtu: int
    master: int
    up: bool


class Address(NamedTuple):
    link: int
    ip: str
    prefix: int


class Route(NamedTuple):
    """A route of the main table. ``destination`` is a CIDR; ``link`` an interface index or 0 (let ``via`` decide);
    ``source`` the address that the node's own packets get."""

    destination: str
    via: str = ""
    link: int = 0
    source: str = ""
    type: int = UNICAST
    scope: int = SCOPE_GLOBAL
    protocol: int = PROTOCOL_BOOT


class Netlink:
    """An rtnetlink socket of the namespace at ``netns`` (default: the caller's own)."""

    def __init__(self, netns: str = "", *, groups: int = 0) -> None:
        self._socket = wire.Socket(wire.ROUTE, netns, groups)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        self._socket.drain()

    def links(self) -> list[Link]:
        return [_decode_link(body) for body in self._dump(_GETLINK, _IFINFO.pack(0, 0, 0, 0, 0))]

    def link(self, name: str) -> Link | None:
        body = _IFINFO.pack(0, 0, 0, 0, 0) + wire.name(_IFLA_IFNAME, name)
        try:
            return next(_decode_link(found) for found in self._socket.exchange(_GETLINK, wire.REQUEST, body, answers=1))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def create_bridge(self, name: str, mac: str, mtu: int) -> None:
        """A bridge with an address of its own: without one it takes its lowest port's and pods' ARP caches go stale."""
        info = wire.nest(_IFLA_LINKINFO, wire.attribute(_INFO_KIND, b"bridge"))
        self._change(_NEWLINK, _new_link(name, mtu) + wire.mac(_IFLA_ADDRESS, mac) + info, new=True)

    def create_veth(self, name: str, mtu: int, peer: str, peer_mac: str, peer_netns: str) -> None:
        """A veth pair whose far end is born inside the namespace at ``peer_netns`` under its final name."""
        descriptor = os.open(peer_netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            far = _new_link(peer, mtu) + wire.mac(_IFLA_ADDRESS, peer_mac) + wire.u32(_IFLA_NET_NS_FD, descriptor)
            data = wire.nest(_INFO_DATA, wire.attribute(_VETH_PEER, far))
            info = wire.nest(_IFLA_LINKINFO, wire.attribute(_INFO_KIND, b"veth"), data)
            self._change(_NEWLINK, _new_link(name, mtu) + info, new=True)
        finally:
            os.close(descriptor)

    def set_link(
        self, index: int, *, up: bool | None = None, master: int | None = None, mtu: int | None = None
    ) -> None:
        attributes = b"" if master is None else wire.u32(_IFLA_MASTER, master)
        attributes += b"" if mtu is None else wire.u32(_IFLA_MTU, mtu)
        flags, change = (0, 0) if up is None else (_IFF_UP * up, _IFF_UP)
        self._change(_NEWLINK, _IFINFO.pack(0, 0, index, flags, change) + attributes)

    def set_hairpin(self, index: int) -> None:
        """Let the bridge send a frame back through the port it came from."""
        setting = wire.nest(_IFLA_PROTINFO, wire.attribute(_BRPORT_HAIRPIN, b"\1"))
        self._change(_SETLINK, _IFINFO.pack(_AF_BRIDGE, 0, index, 0, 0) + setting)

    def delete_link(self, index: int) -> None:
        self._change(_DELLINK, _IFINFO.pack(0, 0, index, 0, 0))

    def addresses(self, link: int) -> list[Address]:
        found = []
        for body in self._dump(_GETADDR, _IFADDR.pack(socket.AF_INET, 0, 0, 0, 0)):
            _, prefix, _, _, index = _IFADDR.unpack_from(body)
            attributes = wire.attributes(body[_IFADDR.size :])
            raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
            if index == link and raw:
                found.append(Address(index, socket.inet_ntoa(raw), prefix))
        return found

    def add_address(self, address: Address, scope: int = SCOPE_GLOBAL) -> None:
        self._change(_NEWADDR, _address(address, scope), new=True)

    def delete_address(self, address: Address) -> None:
        self._change(_DELADDR, _address(address, 0))

    def routes(self) -> list[Route]:
        """Unicast and unreachable routes of the main table."""
        found = (_decode_route(body) for body in self._dump(_GETROUTE, _RTMSG.pack(socket.AF_INET, *[0] * 8)))
        return [route for route in found if route is not None]

    def replace_route(self, route: Route) -> None:
        """Add the route, or put it in the place of the one that has its destination."""
        self._socket.exchange(_NEWROUTE, wire.REQUEST | wire.ACK | wire.CREATE | wire.REPLACE, _route(route))

    def delete_route(self, route: Route) -> None:
        self._change(_DELROUTE, _route(route))

    def _change(self, kind: int, body: bytes, *, new: bool = False) -> None:
        self._socket.exchange(kind, wire.REQUEST | wire.ACK | (wire.CREATE | wire.EXCL if new else 0), body)

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        return self._socket.exchange(kind, wire.REQUEST | wire.DUMP, body)


def _new_link(name: str, mtu: int) -> bytes:
    return _IFINFO.pack(0, 0, 0, 0, 0) + wire.name(_IFLA_IFNAME, name) + wire.u32(_IFLA_MTU, mtu)


def _decode_link(body: bytes) -> Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    attributes = wire.attributes(body[_IFINFO.size :])
    name = attributes[_IFLA_IFNAME].rstrip(b"\0").decode()
    mtu, master = (wire.number(attributes, kind) for kind in (_IFLA_MTU, _IFLA_MASTER))
    return Link(index, name, attributes.get(_IFLA_ADDRESS, b"").hex(":"), mtu, master, bool(flags & _IFF_UP))


def _address(address: Address, scope: int) -> bytes:
    header = _IFADDR.pack(socket.AF_INET, address.prefix, 0, scope, address.link)
    return header + wire.ip(_IFA_LOCAL, address.ip) + wire.ip(_IFA_ADDRESS, address.ip)


def _route(route: Route) -> bytes:
    network, _, length = route.destination.partition("/")
    header = (socket.AF_INET, int(length), 0, 0, _TABLE_MAIN, route.protocol, route.scope, route.type, 0)
    body = _RTMSG.pack(*header) + wire.ip(_RTA_DST, network)
    body += wire.ip(_RTA_GATEWAY, route.via) if route.via else b""
    body += wire.ip(_RTA_PREFSRC, route.source) if route.source else b""
    return body + (wire.u32(_RTA_OIF, route.link) if route.link else b"")


def _decode_route(body: bytes) -> Route | None:
    _, length, _, _, table, protocol, scope, kind, _ = _RTMSG.unpack_from(body)
    attributes = wire.attributes(body[_RTMSG.size :])
    if (wire.number(attributes, _RTA_TABLE) or table) != _TABLE_MAIN or kind not in (UNICAST, UNREACHABLE):
        return None
    network, via, source = (
        socket.inet_ntoa(attributes[key]) if key in attributes else "" for key in (_RTA_DST, _RTA_GATEWAY, _RTA_PREFSRC)
    )
    destination = f"{network or '0.0.0.0'}/{length}"
    return Route(destination, via, wire.number(attributes, _RTA_OIF), source, kind, scope, protocol)
