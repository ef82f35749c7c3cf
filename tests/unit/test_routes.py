"""Which routes a node needs."""

from typing import Any

from apimachinery.netlink import UNREACHABLE, Route
from node.routes import PROTOCOL, RoutesConfig, plan

CONFIG = RoutesConfig("a", "10.244.0.0/16", "10.96.0.0/16", "10.96.0.10")


def node(name: str, address: str, cidr: str) -> dict[str, Any]:
    addresses = [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]
    return {
        "metadata": {"name": name},
        "spec": {"podCIDR": cidr},
        "status": {"addresses": addresses if address else []},
    }


def test_every_other_complete_node_has_a_route() -> None:
    nodes = [
        node("a", "172.30.0.2", "10.244.0.0/24"),
        node("b", "172.30.0.3", "10.244.1.0/24"),
        node("new", "172.30.0.4", ""),
        node("odd", "", "10.244.3.0/24"),
    ]
    wanted = plan(nodes, CONFIG)
    assert {(route.destination, route.via or route.source) for route in wanted.routes} == {
        ("10.244.0.0/16", ""),
        ("10.96.0.0/16", "172.30.0.2"),
        ("10.244.1.0/24", "172.30.0.3"),
    }
    assert "ip saddr 10.244.0.0/24 ip daddr != 10.244.0.0/16 masquerade" in wanted.masquerade


def test_every_service_cidr_of_our_family_has_a_route() -> None:
    cidrs = [{"spec": {"cidrs": ["10.96.0.0/16"]}}, {"spec": {"cidrs": ["203.0.113.0/24", "2001:db8::/64"]}}]
    wanted = plan([node("a", "172.30.0.2", "10.244.0.0/24")], CONFIG, cidrs)
    sunk = {route.destination for route in wanted.routes if route.source == "172.30.0.2"}
    assert sunk == {"10.96.0.0/16", "203.0.113.0/24"}


def test_the_cluster_range_is_unreachable_before_anything_is_known() -> None:
    wanted = plan([], CONFIG)
    assert wanted.routes == {Route("10.244.0.0/16", type=UNREACHABLE, protocol=PROTOCOL)}
    assert wanted.masquerade == ""
