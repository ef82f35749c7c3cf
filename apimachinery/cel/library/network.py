"""Addresses and their ranges: ``ip('10.0.0.1')``, ``cidr('10.0.0.0/8')``."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ..errors import EvaluationError
from ..overloads import function, opaque
from ..values import Opaque

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@opaque
@dataclass(frozen=True, slots=True)
class IP(Opaque):
    address: Address

    cel_type: ClassVar[str] = "net.IP"


@opaque
@dataclass(frozen=True, slots=True)
class CIDR(Opaque):
    """A range; the bits behind its prefix are kept."""

    interface: Interface

    cel_type: ClassVar[str] = "net.CIDR"


def _mapped(address: Address, text: str) -> None:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')


@function("ip(string) -> net.IP")
def ip(text: str) -> IP:
    if "%" in text:
        raise EvaluationError(f'IP address "{text}" with zone value is not allowed')
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise EvaluationError(f'IP Address "{text}" parse error during conversion from string: {error}') from None
    _mapped(address, text)
    return IP(address)


@function("cidr(string) -> net.CIDR")
def cidr(text: str) -> CIDR:
    _, _, bits = text.partition("/")
    try:
        if not bits.isdigit():
            raise ValueError("no prefix length")
        interface = ipaddress.ip_interface(text)
    except ValueError as error:
        raise EvaluationError(f"network address parse error during conversion from string: {error}") from None
    _mapped(interface.ip, text)
    return CIDR(interface)


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except EvaluationError:
        return False
    return True


@function("isIP(string) -> bool")
def is_ip(text: str) -> bool:
    return _parses(ip, text)


@function("isCIDR(string) -> bool")
def is_cidr(text: str) -> bool:
    return _parses(cidr, text)


@function("ip.isCanonical(string) -> bool")
def is_canonical(text: str) -> bool:
    return str(ip(text).address) == text


@function("string(net.IP) -> string")
def ip_text(value: IP) -> str:
    return str(value.address)


@function("string(net.CIDR) -> string")
def cidr_text(value: CIDR) -> str:
    return value.interface.with_prefixlen


@function("(net.IP).family() -> int")
def family(value: IP) -> int:
    return value.address.version


@function("(net.IP).isUnspecified() -> bool")
def is_unspecified(value: IP) -> bool:
    return value.address.is_unspecified


@function("(net.IP).isLoopback() -> bool")
def is_loopback(value: IP) -> bool:
    return value.address.is_loopback


_LINK_LOCAL_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))


@function("(net.IP).isLinkLocalMulticast() -> bool")
def is_link_local_multicast(value: IP) -> bool:
    return any(value.address in network for network in _LINK_LOCAL_MULTICAST)


@function("(net.IP).isLinkLocalUnicast() -> bool")
def is_link_local_unicast(value: IP) -> bool:
    return value.address.is_link_local


@function("(net.IP).isGlobalUnicast() -> bool")
def is_global_unicast(value: IP) -> bool:
    a = value.address
    special = a.is_unspecified or a.is_loopback or a.is_multicast or a.is_link_local
    return not special and a != ipaddress.IPv4Address("255.255.255.255")


@function("(net.CIDR).containsIP(net.IP) -> bool")
def contains_ip(value: CIDR, other: IP) -> bool:
    return other.address in value.interface.network


@function("(net.CIDR).containsIP(string) -> bool")
def contains_ip_text(value: CIDR, other: str) -> bool:
    return contains_ip(value, ip(other))


@function("(net.CIDR).containsCIDR(net.CIDR) -> bool")
def contains_cidr(value: CIDR, other: CIDR) -> bool:
    outer, inner = value.interface.network, other.interface
    return outer.prefixlen <= inner.network.prefixlen and inner.ip in outer


@function("(net.CIDR).containsCIDR(string) -> bool")
def contains_cidr_text(value: CIDR, other: str) -> bool:
    return contains_cidr(value, cidr(other))


@function("(net.CIDR).ip() -> net.IP")
def cidr_ip(value: CIDR) -> IP:
    return IP(value.interface.ip)


@function("(net.CIDR).prefixLength() -> int")
def prefix_length(value: CIDR) -> int:
    return int(value.interface.network.prefixlen)


@function("(net.CIDR).masked() -> net.CIDR")
def masked(value: CIDR) -> CIDR:
    return CIDR(ipaddress.ip_interface(value.interface.network.with_prefixlen))
