"""The bridge of a node and the veth pair of a pod, each by ``ensure_*``: repeating is safe, and repairs.

A pod gets its address as a /32 with a route to the gateway, so that *all* its packets are routed by the node, also
those to a pod on the same bridge. The node's connection tracking thus sees both directions of every connection and
ClusterIP works between neighbours without br_netfilter, which a container cannot load or switch on.
"""

import errno
import hashlib
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface
from typing import NamedTuple

from apimachinery import sysctl
from apimachinery.netlink import SCOPE_LINK, Address, Link, Netlink, Route

_EVERYWHERE = "0.0.0.0/0"
_DEFAULT_MTU = 1500


class Attachment(NamedTuple):
    """What a pod's interface should be."""

    host_name: str
    netns: str
    ifname: str
    address: IPv4Address
    gateway: IPv4Address
    mtu: int


def host_name(container_id: str, ifname: str) -> str:
    """The node's end of an attachment's veth pair: the same name every time, so that DEL finds it without a record."""
    return "veth" + hashlib.sha256(f"{container_id}/{ifname}".encode()).hexdigest()[:11]


def mac_of(address: IPv4Address) -> str:
    """A MAC derived from the address: when an address moves to a new pod, its neighbours' ARP entries stay right."""
    return (b"\x0a\x58" + address.packed).hex(":")


def uplink_mtu(netlink: Netlink) -> int:
    """The MTU of the link that the default route uses, in bytes: what packets between nodes may have."""
    default = next((route for route in netlink.routes() if route.destination == _EVERYWHERE), None)
    link = next((link for link in netlink.links() if default and link.index == default.link), None)
    return link.mtu if link else _DEFAULT_MTU


def ensure_bridge(netlink: Netlink, name: str, gateway: IPv4Interface, mtu: int) -> Link:
    bridge = netlink.link(name)
    if bridge is None:
        _tolerating_exists(lambda: netlink.create_bridge(name, mac_of(gateway.ip), mtu))
        bridge = _existing(netlink, name)
    _ensure_only_address(netlink, bridge.index, Address(bridge.index, str(gateway.ip), gateway.network.prefixlen))
    if not bridge.up or bridge.mtu != mtu:
        netlink.set_link(bridge.index, up=True, mtu=mtu)
    sysctl.ensure(f"net/ipv4/conf/{name}/send_redirects", "0")  # neighbours shall keep talking by way of the node
    return bridge


def ensure_pod_link(netlink: Netlink, bridge: Link, wanted: Attachment) -> None:
    """Both ends of the pod's veth pair, from the node's namespace and from within the pod's."""
    with Netlink(wanted.netns) as inside:
        host = netlink.link(wanted.host_name)
        if host is not None and inside.link(wanted.ifname) is None:
            netlink.delete_link(host.index)  # its far end went elsewhere: an earlier sandbox of the same name
            host = None
        if host is None:
            netlink.create_veth(wanted.host_name, wanted.mtu, wanted.ifname, mac_of(wanted.address), wanted.netns)
            host = _existing(netlink, wanted.host_name)
        netlink.set_link(host.index, up=True, master=bridge.index, mtu=wanted.mtu)
        netlink.set_hairpin(host.index)
        _configure_inside(inside, wanted)


def problem(netlink: Netlink, bridge_name: str, wanted: Attachment) -> str:
    """What is wrong with an attachment ("" = nothing)."""
    bridge, host = netlink.link(bridge_name), netlink.link(wanted.host_name)
    if bridge is None or not bridge.up:
        return f"bridge {bridge_name} is missing or down"
    if host is None or host.master != bridge.index or not host.up:
        return f"{wanted.host_name} is missing, down or not on {bridge_name}"
    with Netlink(wanted.netns) as inside:
        link = inside.link(wanted.ifname)
        if link is None or not link.up:
            return f"{wanted.ifname} is missing or down"
        if Address(link.index, str(wanted.address), 32) not in inside.addresses(link.index):
            return f"{wanted.ifname} lost its address {wanted.address}"
        if not any(route.destination == _EVERYWHERE for route in inside.routes()):
            return "the default route is missing"
    return ""


def remove(netlink: Netlink, name: str) -> None:
    """Delete a link and with it its peer; tolerates absence."""
    link = netlink.link(name)
    if link is not None:
        _tolerating(lambda: netlink.delete_link(link.index), errno.ENODEV)  # it went with its namespace meanwhile


def _configure_inside(inside: Netlink, wanted: Attachment) -> None:
    link, loopback = _existing(inside, wanted.ifname), _existing(inside, "lo")
    for each in (loopback, link):
        inside.set_link(each.index, up=True)
    _ensure_only_address(inside, link.index, Address(link.index, str(wanted.address), 32))
    inside.replace_route(Route(f"{wanted.gateway}/32", link=link.index, scope=SCOPE_LINK))
    inside.replace_route(Route(_EVERYWHERE, via=str(wanted.gateway), link=link.index))


def _ensure_only_address(netlink: Netlink, link: int, wanted: Address) -> None:
    present = netlink.addresses(link)
    for other in present:
        if other != wanted:
            netlink.delete_address(other)
    if wanted not in present:
        _tolerating_exists(lambda: netlink.add_address(wanted))


def _existing(netlink: Netlink, name: str) -> Link:
    link = netlink.link(name)
    if link is None:
        raise OSError(errno.ENODEV, f"link {name} does not exist")
    return link


def _tolerating_exists(change: Callable[[], None]) -> None:
    _tolerating(change, errno.EEXIST)


def _tolerating(change: Callable[[], None], number: int) -> None:
    """Do ``change``; another process may have done it at the same instant."""
    try:
        change()
    except OSError as error:
        if error.errno != number:
            raise
