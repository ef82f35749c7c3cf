"""Addresses and their ranges: ``ip('10.0.0.1')``, ``cidr('10.0.0.0/8')``."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ..errors import EvaluationError
from ..overloads import declare_all, opaque
from ..values import Opaque

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_LINK_LOCAL_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))


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


def _not_mapped(address: Address, text: str) -> None:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')


def _ip(text: str) -> IP:
    if "%" in text:
        raise EvaluationError(f'IP address "{text}" with zone value is not allowed')
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise EvaluationError(f'IP Address "{text}" parse error during conversion from string: {error}') from None
    _not_mapped(address, text)
    return IP(address)


def _cidr(text: str) -> CIDR:
    try:
        if not text.partition("/")[2].isdigit():
            raise ValueError("no prefix length")
        interface = ipaddress.ip_interface(text)
    except ValueError as error:
        raise EvaluationError(f"network address parse error during conversion from string: {error}") from None
    _not_mapped(interface.ip, text)
    return CIDR(interface)


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except EvaluationError:
        return False
    return True


def _is_global_unicast(value: IP) -> bool:
    a = value.address
    special = a.is_unspecified or a.is_loopback or a.is_multicast or a.is_link_local
    return not special and a != ipaddress.IPv4Address("255.255.255.255")


def _contains_ip(value: CIDR, other: IP) -> bool:
    return other.address in value.interface.network


def _contains_cidr(value: CIDR, other: CIDR) -> bool:
    outer, inner = value.interface.network, other.interface
    return outer.prefixlen <= inner.network.prefixlen and inner.ip in outer


declare_all(
    {
        "ip(string) -> net.IP": _ip,
        "cidr(string) -> net.CIDR": _cidr,
        "isIP(string) -> bool": lambda text: _parses(_ip, text),
        "isCIDR(string) -> bool": lambda text: _parses(_cidr, text),
        "ip.isCanonical(string) -> bool": lambda text: str(_ip(text).address) == text,
        "string(net.IP) -> string": lambda ip: str(ip.address),
        "string(net.CIDR) -> string": lambda cidr: cidr.interface.with_prefixlen,
        "(net.IP).family() -> int": lambda ip: ip.address.version,
        "(net.IP).isUnspecified() -> bool": lambda ip: ip.address.is_unspecified,
        "(net.IP).isLoopback() -> bool": lambda ip: ip.address.is_loopback,
        "(net.IP).isLinkLocalMulticast() -> bool": lambda ip: any(ip.address in n for n in _LINK_LOCAL_MULTICAST),
        "(net.IP).isLinkLocalUnicast() -> bool": lambda ip: ip.address.is_link_local,
        "(net.IP).isGlobalUnicast() -> bool": _is_global_unicast,
        "(net.CIDR).containsIP(net.IP) -> bool": _contains_ip,
        "(net.CIDR).containsIP(string) -> bool": lambda cidr, text: _contains_ip(cidr, _ip(text)),
        "(net.CIDR).containsCIDR(net.CIDR) -> bool": _contains_cidr,
        "(net.CIDR).containsCIDR(string) -> bool": lambda cidr, text: _contains_cidr(cidr, _cidr(text)),
        "(net.CIDR).ip() -> net.IP": lambda cidr: IP(cidr.interface.ip),
        "(net.CIDR).prefixLength() -> int": lambda cidr: cidr.interface.network.prefixlen,
        "(net.CIDR).masked() -> net.CIDR": lambda cidr: CIDR(
            ipaddress.ip_interface(cidr.interface.network.with_prefixlen)
        ),
    }
)
