"""The machine's side of a process-mode cluster's network: a bridge, and a namespace with a veth for each node.

Every function is an ``ensure_*`` or tolerates absence, so that a start that was cut off half way is mended by
the next one. Pod and service networks get a blackhole route here, so that a packet for a pod that no node
has yet never leaves by the machine's uplink.
"""

import contextlib
import errno
import ipaddress
import os
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

from apimachinery.netlink import BLACKHOLE, Address, Netlink, Route
from cli.up.config import ClusterConfig

_MTU = 1500
_RULE_COMMENT = "kubeto"


def _blackhole_metric(config: ClusterConfig) -> int:
    """Each cluster has routes of its own, so that one that goes leaves those of the others."""
    return 4096 + zlib.crc32(config.name.encode()) % 4096


@contextlib.contextmanager
def _tolerate(*codes: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in codes:
            raise


def _mac(ip: str) -> str:
    """A locally administered address made from an IPv4 address: the same after every start."""
    return "0a:58:" + ipaddress.IPv4Address(ip).packed.hex(":")


def _blackholes(config: ClusterConfig) -> list[Route]:
    metric = _blackhole_metric(config)
    return [Route(cidr, type=BLACKHOLE, metric=metric) for cidr in (config.cluster_cidr, config.service_cidr)]


def _index(netlink: Netlink, name: str) -> int:
    link = netlink.link(name)
    if link is None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), name)
    return link.index


def ensure_machine_side(config: ClusterConfig) -> None:
    """The bridge with the gateway address, forwarding, and blackholes for the pod and service networks."""
    with Netlink() as netlink:
        with _tolerate(errno.EEXIST):
            netlink.create_bridge(config.bridge, _mac(config.gateway), _MTU)
        index = _index(netlink, config.bridge)
        with _tolerate(errno.EEXIST):
            netlink.add_address(Address(index, config.gateway, _prefix(config)))
        netlink.set_link(index, up=True)
        for route in _blackholes(config):
            netlink.replace_route(route)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    _ensure_forwarding(config)


def _prefix(config: ClusterConfig) -> int:
    return int(config.node_network.rpartition("/")[2])


def _rules(config: ClusterConfig) -> list[list[str]]:
    """What the machine's own firewall must let through. Docker's engine sets FORWARD to DROP."""
    comment = ["-m", "comment", "--comment", f"{_RULE_COMMENT}:{config.name}"]
    return [
        ["FORWARD", "-i", config.bridge, *comment, "-j", "ACCEPT"],
        ["FORWARD", "-o", config.bridge, *comment, "-j", "ACCEPT"],
        ["POSTROUTING", "-t", "nat", "-s", config.node_network, "!", "-o", config.bridge, *comment, "-j", "MASQUERADE"],
    ]


def _iptables(verb: str, rule: list[str]) -> bool:
    done = subprocess.run(["iptables", "-w", verb, *rule], capture_output=True, check=False)
    return done.returncode == 0


def _ensure_forwarding(config: ClusterConfig) -> None:
    for rule in _rules(config):
        if not _iptables("-C", rule):
            _iptables("-I", rule)


def ensure_node_link(config: ClusterConfig, index: int, netns: str) -> None:
    """Join the namespace at path ``netns`` to the bridge, as ``eth0`` with the node's address."""
    outer, address = f"{config.name}v{index}", config.node_ip(index)
    with Netlink() as netlink, Netlink(netns) as inside:
        if inside.link("eth0") is None:
            if left := netlink.link(outer):
                netlink.delete_link(left.index)
            netlink.create_veth(outer, _MTU, "eth0", _mac(address), netns)
        netlink.set_link(_index(netlink, outer), master=_index(netlink, config.bridge), up=True)
        inside.set_link(_index(inside, "lo"), up=True)
        eth0 = _index(inside, "eth0")
        with _tolerate(errno.EEXIST):
            inside.add_address(Address(eth0, address, _prefix(config)))
        inside.set_link(eth0, up=True)
        inside.replace_route(Route("0.0.0.0/0", via=config.gateway))


def ensure_namespace(name: str) -> str:
    """A named network namespace; returns its path."""
    path = f"/run/netns/{name}"
    if not os.path.exists(path):
        subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True)
    return path


def remove_namespace(name: str) -> None:
    if os.path.exists(f"/run/netns/{name}"):
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def remove_machine_side(config: ClusterConfig) -> None:
    """Take away the bridge, its routes and its firewall rules; the veths went with their namespaces."""
    for rule in _rules(config):
        while _iptables("-C", rule) and _iptables("-D", rule):
            pass
    with Netlink() as netlink:
        for name in [*(f"{config.name}v{index}" for index in range(config.nodes)), config.bridge]:
            if link := netlink.link(name):
                with _tolerate(errno.ENODEV):
                    netlink.delete_link(link.index)
        for route in _blackholes(config):
            with _tolerate(errno.ESRCH):
                netlink.delete_route(route)
