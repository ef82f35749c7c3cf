"""The machine's side of a process-mode cluster's network: a bridge, and a namespace with a veth for each node.

Every function is an ``ensure_*`` or tolerates absence, so that a start that was cut off half way is mended by
the next one. Pod and service networks get a blackhole route here, so that a packet for a pod that no node
has yet never leaves by the machine's uplink.
"""

import contextlib
import os
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

from pyroute2 import IPRoute, NetNS
from pyroute2.netlink.exceptions import NetlinkError

from cli.up.config import ClusterConfig

_EXISTS, _ABSENT, _NO_ROUTE = 17, 19, 3
_RULE_COMMENT = "kubeto"


def _blackhole_metric(config: ClusterConfig) -> int:
    """Each cluster has routes of its own, so that one that goes leaves those of the others."""
    return 4096 + zlib.crc32(config.name.encode()) % 4096


@contextlib.contextmanager
def _tolerate(*codes: int) -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code not in codes:
            raise


def ensure_machine_side(config: ClusterConfig) -> None:
    """The bridge with the gateway address, forwarding, and blackholes for the pod and service networks."""
    prefix = int(config.node_network.rpartition("/")[2])
    with IPRoute() as ip:
        with _tolerate(_EXISTS):
            ip.link("add", ifname=config.bridge, kind="bridge")
        index = ip.link_lookup(ifname=config.bridge)[0]
        with _tolerate(_EXISTS):
            ip.addr("add", index=index, address=config.gateway, prefixlen=prefix)
        ip.link("set", index=index, state="up")
        for network in (config.cluster_cidr, config.service_cidr):
            with _tolerate(_EXISTS):
                ip.route("add", dst=network, type="blackhole", priority=_blackhole_metric(config))
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
    outer, inner = f"{config.name}v{index}", f"{config.name}p{index}"
    prefix = int(config.node_network.rpartition("/")[2])
    with IPRoute() as ip, NetNS(netns, flags=0) as inside:
        if not inside.link_lookup(ifname="eth0"):
            with _tolerate(_ABSENT):
                ip.link("del", ifname=outer)
            ip.link("add", ifname=outer, kind="veth", peer={"ifname": inner})
            with open(netns, "rb") as namespace:
                ip.link("set", index=ip.link_lookup(ifname=inner)[0], net_ns_fd=namespace.fileno())
            inside.link("set", index=inside.link_lookup(ifname=inner)[0], ifname="eth0")
        bridge = ip.link_lookup(ifname=config.bridge)[0]
        ip.link("set", index=ip.link_lookup(ifname=outer)[0], master=bridge, state="up")
        inside.link("set", index=inside.link_lookup(ifname="lo")[0], state="up")
        eth0 = inside.link_lookup(ifname="eth0")[0]
        with _tolerate(_EXISTS):
            inside.addr("add", index=eth0, address=config.node_ip(index), prefixlen=prefix)
        inside.link("set", index=eth0, state="up")
        with _tolerate(_EXISTS):
            inside.route("add", dst="default", gateway=config.gateway)


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
    with IPRoute() as ip:
        for index in range(config.nodes):
            with _tolerate(_ABSENT):
                ip.link("del", ifname=f"{config.name}v{index}")
        with _tolerate(_ABSENT):
            ip.link("del", ifname=config.bridge)
        for network in (config.cluster_cidr, config.service_cidr):
            with _tolerate(_NO_ROUTE):
                ip.route("del", dst=network, type="blackhole", priority=_blackhole_metric(config))
