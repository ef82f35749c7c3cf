"""hostPort: ports of the node that lead to a pod (the ``portMappings`` capability), as maps of one nftables table.

Each map element names its owner in a comment, so that DEL and GC find an attachment's elements whatever became of its
configuration. The rules are constant; pods only add and delete elements, each change in one transaction.

127.0.0.1:hostPort on the node works where ``route_localnet`` can be set on the bridge: in a container whose /proc/sys
is read-only that takes ``net.ipv4.conf.all.route_localnet=1`` among the container's own sysctls.
"""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from apimachinery import nft, sysctl
from apimachinery.netlink import conntrack
from apimachinery.nft import NftError
from cni.spec import INVALID_CONFIG, NETWORK_FAILURE, CniError

TABLE = "kubeto-hostports"
_MARK = "0x2000"
_PROTOCOLS = ("tcp", "udp", "sctp")

_BASE = f"""
add table ip {TABLE}
add set ip {TABLE} bridges {{ type ifname ; }}
add map ip {TABLE} any {{ type inet_proto . inet_service : ipv4_addr . inet_service ; }}
add map ip {TABLE} one {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service ; }}
add chain ip {TABLE} lead
add chain ip {TABLE} prerouting {{ type nat hook prerouting priority -100 ; }}
add chain ip {TABLE} output {{ type nat hook output priority -100 ; }}
add chain ip {TABLE} postrouting {{ type nat hook postrouting priority 100 ; }}
flush chain ip {TABLE} lead
flush chain ip {TABLE} prerouting
flush chain ip {TABLE} output
flush chain ip {TABLE} postrouting
add rule ip {TABLE} lead dnat ip to ip daddr . meta l4proto . th dport map @one
add rule ip {TABLE} lead dnat ip to meta l4proto . th dport map @any
add rule ip {TABLE} prerouting iifname @bridges fib daddr type local meta mark set meta mark or {_MARK}
add rule ip {TABLE} prerouting fib daddr type local jump lead
add rule ip {TABLE} output ip saddr 127.0.0.0/8 meta mark set meta mark or {_MARK}
add rule ip {TABLE} output fib daddr type local jump lead
add rule ip {TABLE} postrouting meta mark & {_MARK} == {_MARK} ct status dnat masquerade
"""


@dataclass(frozen=True, slots=True)
class PortMapping:
    """``host_ip`` "" means every address of the node."""

    host_port: int
    container_port: int
    protocol: str
    host_ip: str = ""

    def element(self) -> tuple[str, str]:
        """Map and key."""
        port = f"{self.protocol} . {self.host_port}"
        return ("one", f"{self.host_ip} . {port}") if self.host_ip else ("any", port)


def parse(entries: Sequence[Any]) -> list[PortMapping]:
    """The runtime's ``portMappings``; entries without a host port are left out. Raises CniError(INVALID_CONFIG).

    containerd writes ``HostPort``: Go's plugins do not mind, so neither may this one.
    """
    lowered = [{str(name).lower(): value for name, value in entry.items()} for entry in entries]
    return [_parse_one(entry) for entry in lowered if entry.get("hostport")]


def _parse_one(entry: dict[str, Any]) -> PortMapping:
    protocol = str(entry.get("protocol") or "tcp").lower()
    if protocol not in _PROTOCOLS:
        raise CniError(INVALID_CONFIG, "portMappings: unknown protocol", protocol)
    host_ip = str(entry.get("hostip") or "")
    try:
        if host_ip and IPv4Address(host_ip).is_unspecified:
            host_ip = ""
    except AddressValueError as error:
        raise CniError(INVALID_CONFIG, "portMappings: hostIP is not an IPv4 address", host_ip) from error
    ports = int(entry["hostport"]), int(entry.get("containerport") or entry["hostport"])
    if not all(0 < port < 65536 for port in ports):
        raise CniError(INVALID_CONFIG, "portMappings: port out of range", str(entry))
    return PortMapping(*ports, protocol, host_ip)


def ensure(owner: str, bridge: str, address: IPv4Address, mappings: Sequence[PortMapping]) -> None:
    """Lead ``mappings`` to the pod and nothing else of ``owner``'s. A port that another pod has is refused.

    ``owner`` is the attachment's host link name. Raises CniError.
    """
    lines = [_BASE, f"add element ip {TABLE} bridges {{ {bridge} }}", *_deletions(lambda name: name == owner)]
    for mapping in mappings:
        where, key = mapping.element()
        value = f"{address} . {mapping.container_port}"
        lines.append(f'add element ip {TABLE} {where} {{ {key} comment "{owner}" : {value} }}')
    sysctl.ensure(f"net/ipv4/conf/{bridge}/route_localnet", "1")
    _nft(text="\n".join(lines))
    udp = [mapping for mapping in mappings if mapping.protocol == "udp"]
    if udp:  # else clients that kept sending would stay with the port's last pod
        conntrack.forget_stale({(m.host_ip, m.host_port): frozenset({(str(address), m.container_port)}) for m in udp})


def remove(owner: str) -> None:
    """Delete all elements of ``owner``. Raises CniError."""
    _apply(_deletions(lambda name: name == owner))


def collect(valid: Collection[str]) -> None:
    """Delete the elements of all owners but the ``valid`` ones. Raises CniError."""
    _apply(_deletions(lambda name: name not in valid))


def _apply(lines: list[str]) -> None:
    if lines:
        _nft(text="\n".join(lines))


def _deletions(gone: Callable[[str], bool]) -> list[str]:
    lines = []
    for where in ("any", "one"):
        for owner, key in _elements(where):
            if gone(owner):
                lines.append(f"delete element ip {TABLE} {where} {{ {key} }}")
    return lines


def _elements(where: str) -> list[tuple[str, str]]:
    """Owner and key of each element; empty when there is no table."""
    text = _nft("-j", "list", "map", "ip", TABLE, where)
    answer = json.loads(text) if text else {"nftables": []}
    found = []
    for part in answer["nftables"]:
        for key, _ in part.get("map", {}).get("elem", ()):
            element = key["elem"]
            found.append((element.get("comment", ""), " . ".join(str(field) for field in element["val"]["concat"])))
    return found


def _nft(*arguments: str, text: str = "") -> str:
    """What nft prints; "" when the object does not exist. Raises CniError."""
    try:
        if text:
            nft.apply(text)
            return ""
        return nft.show(*arguments) or ""
    except NftError as error:
        raise CniError(NETWORK_FAILURE, "the host ports could not be changed", str(error)) from error
