"""The machine's side of a process-mode cluster's network: a bridge, and a namespace with a veth for each node.

Every function is an ``ensure_*`` or tolerates absence, so that a start that was cut off half way is mended by
the next one. Pod and service networks are unreachable from here, so that a packet for a pod that no node
has yet never leaves by the machine's uplink.
"""

import contextlib
import errno
import os
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

from apimachinery.netlink import UNREACHABLE, Address, Link, Netlink, Route
from cli.up.config import ClusterConfig

_MTU = 1500
_RULE_COMMENT = "kubeto"


@contextlib.contextmanager
def _tolerate(*numbers: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise


def _mac(config: ClusterConfig, index: int) -> str:
    """A locally administered address, the same at every start. 0 is the bridge's, then the nodes'."""
    number = zlib.crc32(f"{config.name}/{index}".encode())
    return ":".join(["02", "4b", *(f"{number >> shift & 0xFF:02x}" for shift in (24, 16, 8, 0))])


def _nowhere(config: ClusterConfig) -> list[Route]:
    """Pod and service networks lead nowhere from the machine itself."""
    return [Route(network, type=UNREACHABLE) for network in (config.cluster_cidr, config.service_cidr)]


def _required(netlink: Netlink, name: str) -> Link:
    """A link that was just made. Raises OSError where something else has taken it away."""
    link = netlink.link(name)
    if link is None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), name)
    return link


def ensure_machine_side(config: ClusterConfig) -> None:
    """The bridge with the gateway address, forwarding, and routes that keep pod and service packets here."""
    prefix = int(config.node_network.rpartition("/")[2])
    with Netlink() as netlink:
        with _tolerate(errno.EEXIST):
            netlink.create_bridge(config.bridge, _mac(config, 0), _MTU)
        bridge = _required(netlink, config.bridge)
        with _tolerate(errno.EEXIST):
            netlink.add_address(Address(bridge.index, config.gateway, prefix))
        netlink.set_link(bridge.index, up=True)
        for route in _nowhere(config):
            netlink.replace_route(route)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    _ensure_forwarding(config)


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
    outer = f"{config.name}v{index}"
    prefix = int(config.node_network.rpartition("/")[2])
    with Netlink() as netlink, Netlink(netns) as inside:
        if inside.link("eth0") is None:
            if (left := netlink.link(outer)) is not None:
                netlink.delete_link(left.index)
            netlink.create_veth(outer, _MTU, "eth0", _mac(config, index + 1), netns)
        bridge, port = _required(netlink, config.bridge), _required(netlink, outer)
        loopback, eth0 = _required(inside, "lo"), _required(inside, "eth0")
        netlink.set_link(port.index, master=bridge.index, up=True)
        inside.set_link(loopback.index, up=True)
        with _tolerate(errno.EEXIST):
            inside.add_address(Address(eth0.index, config.node_ip(index), prefix))
        inside.set_link(eth0.index, up=True)
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
            if (link := netlink.link(name)) is not None:
                netlink.delete_link(link.index)
        if not _other_clusters():
            for route in _nowhere(config):
                with _tolerate(errno.ESRCH):
                    netlink.delete_route(route)


def _other_clusters() -> bool:
    """Whether another process-mode cluster shares the machine, and with it the routes that lead nowhere."""
    listed = subprocess.run(["iptables", "-w", "-S", "FORWARD"], capture_output=True, text=True, check=False).stdout
    return f'"{_RULE_COMMENT}:' in listed
