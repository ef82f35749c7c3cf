"""Links, addresses and routes of one network namespace, over rtnetlink (rtnetlink(7), IPv4 only).

A socket belongs for ever to the namespace it was opened in, so one process can hold several. All calls block for
microseconds and raise ``OSError`` with the kernel's errno and, where it gives one, its explanation.

Why not a library: a CNI plugin is a process started for every pod, and importing pyroute2 alone takes longer
(300 ms) than the whole of attaching a pod may; it would also sit in each node agent's memory.
"""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

# linux/netlink.h, linux/rtnetlink.h
_REQUEST, _ACK, _DUMP, _REPLACE, _EXCL, _CREATE = 0x1, 0x4, 0x300, 0x100, 0x200, 0x400
_ERROR, _DONE = 2, 3
_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_NESTED = 0x8000
_IFF_UP = 1
_CLONE_NEWNET = 0x40000000
_AF_BRIDGE = 7
_TABLE_MAIN = 254
_IFINFO, _IFADDR, _RTMSG = struct.Struct("=BxHiII"), struct.Struct("=BBBBI"), struct.Struct("=BBBBBBBBI")
_HEADER, _U32 = struct.Struct("=IHHII"), struct.Struct("=I")
ROUTE_CHANGES = 0x1 | 0x10 | 0x40
"""Groups for ``Netlink(groups=...)``: links, IPv4 addresses and IPv4 routes (RTMGRP_*)."""

SCOPE_GLOBAL, SCOPE_LINK, SCOPE_HOST = 0, 253, 254
UNICAST, UNREACHABLE = 1, 7
PROTOCOL_BOOT = 3


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    mac: str
    mtu: int
    master: int
    up: bool


@dataclass(frozen=True, slots=True)
class Address:
    link: int
    ip: str
    prefix: int


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table. ``destination`` is a CIDR; ``link`` an interface index or 0 (let ``via`` decide);
    ``source`` the address that the node's own packets get."""

    destination: str
    via: str = ""
    link: int = 0
    source: str = ""
    type: int = UNICAST
    scope: int = SCOPE_GLOBAL
    protocol: int = PROTOCOL_BOOT


@contextmanager
def in_namespace(path: str) -> Iterator[None]:
    """Put the calling thread, and no other, into the network namespace at ``path`` for the length of the block."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(descriptor: int) -> None:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)

    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(target)
        finally:
            os.close(target)
        try:
            yield
        finally:
            enter(home)
    finally:
        os.close(home)


def _attribute(kind: int, value: bytes) -> bytes:
    length = len(value) + 4
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def _u32(kind: int, value: int) -> bytes:
    return _attribute(kind, _U32.pack(value))


def _name(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _mac(kind: int, value: str) -> bytes:
    return _attribute(kind, bytes.fromhex(value.replace(":", "")))


def _ip(kind: int, value: str) -> bytes:
    return _attribute(kind, socket.inet_aton(value))


def _nest(kind: int, *attributes: bytes) -> bytes:
    return _attribute(kind | _NESTED, b"".join(attributes))


def _attributes(data: bytes) -> dict[int, bytes]:
    found, offset = {}, 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _number(attributes: dict[int, bytes], kind: int) -> int:
    value = attributes.get(kind)
    return int(_U32.unpack(value)[0]) if value else 0


class Netlink:
    """An rtnetlink socket of the namespace at ``netns`` (default: the caller's own)."""

    def __init__(self, netns: str = "", *, groups: int = 0) -> None:
        if netns:
            with in_namespace(netns):
                self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC)
        else:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC)
        self._socket.bind((0, groups))
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Throw away queued notifications (a socket opened with ``groups`` only says *that* something changed)."""
        with suppress(BlockingIOError, OSError):  # ENOBUFS too means "something changed"
            while self._socket.recv(1 << 16, socket.MSG_DONTWAIT):
                pass

    def links(self) -> list[Link]:
        return [_decode_link(body) for body in self._dump(_GETLINK, _IFINFO.pack(0, 0, 0, 0, 0))]

    def link(self, name: str) -> Link | None:
        body = _IFINFO.pack(0, 0, 0, 0, 0) + _name(3, name)
        try:
            return next(_decode_link(found) for found in self._exchange(_GETLINK, _REQUEST, body, answers=1))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def create_bridge(self, name: str, mac: str, mtu: int) -> None:
        """A bridge with an address of its own: without one it takes its lowest port's and pods' ARP caches go stale."""
        info = _nest(18, _attribute(1, b"bridge"))
        self._change(
            _NEWLINK, _IFINFO.pack(0, 0, 0, 0, 0) + _name(3, name) + _mac(1, mac) + _u32(4, mtu) + info, new=True
        )

    def create_veth(self, name: str, mtu: int, peer: str, peer_mac: str, peer_netns: str) -> None:
        """A veth pair whose far end is born inside the namespace at ``peer_netns`` under its final name."""
        descriptor = os.open(peer_netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            far = _IFINFO.pack(0, 0, 0, 0, 0) + _name(3, peer) + _mac(1, peer_mac) + _u32(4, mtu) + _u32(28, descriptor)
            info = _nest(18, _attribute(1, b"veth"), _nest(2, _attribute(1, far)))
            self._change(_NEWLINK, _IFINFO.pack(0, 0, 0, 0, 0) + _name(3, name) + _u32(4, mtu) + info, new=True)
        finally:
            os.close(descriptor)

    def set_link(
        self, index: int, *, up: bool | None = None, master: int | None = None, mtu: int | None = None
    ) -> None:
        attributes = b"" if master is None else _u32(10, master)
        attributes += b"" if mtu is None else _u32(4, mtu)
        flags, change = (0, 0) if up is None else (_IFF_UP * up, _IFF_UP)
        self._change(_NEWLINK, _IFINFO.pack(0, 0, index, flags, change) + attributes)

    def set_hairpin(self, index: int) -> None:
        """Let the bridge send a frame back through the port it came from."""
        self._change(_SETLINK, _IFINFO.pack(_AF_BRIDGE, 0, index, 0, 0) + _nest(12, _attribute(4, b"\1")))

    def delete_link(self, index: int) -> None:
        self._change(_DELLINK, _IFINFO.pack(0, 0, index, 0, 0))

    def addresses(self, link: int) -> list[Address]:
        found = []
        for body in self._dump(_GETADDR, _IFADDR.pack(socket.AF_INET, 0, 0, 0, 0)):
            _, prefix, _, _, index = _IFADDR.unpack_from(body)
            attributes = _attributes(body[_IFADDR.size :])
            raw = attributes.get(2) or attributes.get(1)  # IFA_LOCAL, else IFA_ADDRESS
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
        self._exchange(_NEWROUTE, _REQUEST | _ACK | _CREATE | _REPLACE, _route(route))

    def delete_route(self, route: Route) -> None:
        self._change(_DELROUTE, _route(route))

    def _change(self, kind: int, body: bytes, *, new: bool = False) -> None:
        self._exchange(kind, _REQUEST | _ACK | (_CREATE | _EXCL if new else 0), body)

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        return self._exchange(kind, _REQUEST | _DUMP, body)

    def _exchange(self, kind: int, flags: int, body: bytes, *, answers: int = 0) -> list[bytes]:
        """Send one request; return the bodies of its answer (all up to DONE or the ACK, or the first ``answers``)."""
        self._sequence += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body)
        bodies: list[bytes] = []
        while True:
            for message, sequence, payload in _messages(self._socket.recv(1 << 20)):
                if sequence != self._sequence:
                    continue  # left over from a request that failed half-way
                if message == _ERROR:
                    _raise_error(payload)
                    return bodies
                if message == _DONE:
                    return bodies
                bodies.append(payload)
                if len(bodies) == answers:
                    return bodies


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        yield kind, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _raise_error(payload: bytes) -> None:
    number = -struct.unpack_from("=i", payload)[0]
    if number == 0:
        return
    text = _attributes(payload[4 + _HEADER.size :]).get(1, b"").rstrip(b"\0").decode()
    raise OSError(number, f"{os.strerror(number)} ({text})" if text else os.strerror(number))


def _decode_link(body: bytes) -> Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    attributes = _attributes(body[_IFINFO.size :])
    name = attributes[3].rstrip(b"\0").decode()
    mac = attributes.get(1, b"").hex(":")
    return Link(index, name, mac, _number(attributes, 4), _number(attributes, 10), bool(flags & _IFF_UP))


def _address(address: Address, scope: int) -> bytes:
    header = _IFADDR.pack(socket.AF_INET, address.prefix, 0, scope, address.link)
    return header + _ip(2, address.ip) + _ip(1, address.ip)


def _route(route: Route) -> bytes:
    network, _, length = route.destination.partition("/")
    header = (socket.AF_INET, int(length), 0, 0, _TABLE_MAIN, route.protocol, route.scope, route.type, 0)
    body = _RTMSG.pack(*header) + _ip(1, network)
    body += _ip(5, route.via) if route.via else b""
    body += _ip(7, route.source) if route.source else b""
    return body + (_u32(4, route.link) if route.link else b"")


def _decode_route(body: bytes) -> Route | None:
    _, length, _, _, table, protocol, scope, kind, _ = _RTMSG.unpack_from(body)
    attributes = _attributes(body[_RTMSG.size :])
    if (_number(attributes, 15) or table) != _TABLE_MAIN or kind not in (UNICAST, UNREACHABLE):
        return None
    network = socket.inet_ntoa(attributes.get(1, bytes(4)))
    via, source = (socket.inet_ntoa(attributes[key]) if key in attributes else "" for key in (5, 7))
    return Route(f"{network}/{length}", via, _number(attributes, 4), source, kind, scope, protocol)
