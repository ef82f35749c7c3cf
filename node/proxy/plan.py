"""What nftables must hold for a set of Services: a pure function, the proxy's whole decision.

A new connection is looked up by (address, protocol, port) in ``service-ips``, or for the node's own addresses by
(protocol, port) in ``nodeports``; the verdict leads to the port's chain, which picks an endpoint at random and
translates the destination. Connection tracking does the rest of the connection.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from apimachinery.netlink.conntrack import Target
from node.proxy.model import Endpoint, ServicePort

SERVICE_IPS, NODE_PORTS = "service-ips", "nodeports"
CLUSTER_IPS, HAIRPIN = "cluster-ips", "hairpin"
REFUSED_IPS, REFUSED_NODE_PORTS = "refused-ips", "refused-nodeports"
MASQUERADE = "meta mark set meta mark or 0x4000"


@dataclass(slots=True)
class Rules:
    """Contents of the table besides its constant part. Mergeable, comparable."""

    elements: dict[str, dict[str, str]] = field(default_factory=dict)
    """Map or set -> key -> value ("" in sets)."""
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)
    """Sets that packets fill (session affinity) -> definition."""
    udp: dict[Target, frozenset[Target]] = field(default_factory=dict)
    """UDP front -> endpoints; the address of a node port's front is "". What connection tracking may keep."""

    def add(self, container: str, key: str, value: str = "") -> None:
        self.elements.setdefault(container, {})[key] = value

    def merge(self, other: "Rules") -> None:
        """Add what ``other`` has. What both claim (a node port, an external address) stays with this one."""
        for container, elements in other.elements.items():
            mine = self.elements.setdefault(container, {})
            for key, value in elements.items():
                mine.setdefault(key, value)
        for front, targets in other.udp.items():
            self.udp.setdefault(front, targets)
        self.chains.update(other.chains)
        self.sets.update(other.sets)


def plan(ports: Iterable[ServicePort], cluster_cidr: str) -> Rules:
    """``cluster_cidr``: clients from outside it see their address replaced, so that answers come back this way."""
    rules = Rules()
    for port in ports:
        _plan_port(rules, port, cluster_cidr)
    return rules


def _plan_port(rules: Rules, port: ServicePort, cluster_cidr: str) -> None:
    for ip in port.cluster_ips:
        rules.add(CLUSTER_IPS, ip)
    for endpoint in port.endpoints:
        if endpoint.local:
            rules.add(HAIRPIN, f"{endpoint.ip} . {endpoint.ip}")
    if port.endpoints:
        _plan_internal(rules, port, cluster_cidr)
        _plan_external(rules, port, cluster_cidr)
    else:
        _refuse(rules, port)
    if port.protocol == "udp":
        _plan_udp(rules, port)


def _plan_internal(rules: Rules, port: ServicePort, cluster_cidr: str) -> None:
    endpoints = [each for each in port.endpoints if each.local or not port.internal_local]
    chain = f"svc/{port.name}"
    outside = f"ip saddr != {cluster_cidr} {MASQUERADE}"
    rules.chains[chain] = (outside, *_spread(rules, port, endpoints)) if endpoints else ("drop",)
    for ip in port.cluster_ips:
        rules.add(SERVICE_IPS, f"{ip} . {port.protocol} . {port.port}", f"goto {chain}")


def _plan_external(rules: Rules, port: ServicePort, cluster_cidr: str) -> None:
    """Node port, external and load balancer addresses: masqueraded, or kept on this node with the client's address."""
    chain = f"ext/{port.name}"
    fronts = [(SERVICE_IPS, f"{ip} . {port.protocol} . {port.port}") for ip in port.external_ips]
    if port.node_port:
        fronts.append((NODE_PORTS, f"{port.protocol} . {port.node_port}"))
    if not fronts:
        return
    for container, key in fronts:
        rules.add(container, key, f"goto {chain}")
    if not port.external_local:
        rules.chains[chain] = (MASQUERADE, *_spread(rules, port, port.endpoints))
        return
    everywhere = f"all/{port.name}"  # clients inside the cluster reach every endpoint whatever the policy
    rules.chains[everywhere] = _spread(rules, port, port.endpoints)
    local = [each for each in port.endpoints if each.local]
    rules.chains[chain] = (
        f"ip saddr {cluster_cidr} goto {everywhere}",
        f"fib saddr type local {MASQUERADE}",
        f"fib saddr type local goto {everywhere}",
        *(_spread(rules, port, local) if local else ("drop",)),
    )


def _refuse(rules: Rules, port: ServicePort) -> None:
    """Cluster addresses need no entry: whatever is not translated is refused there."""
    for ip in port.external_ips:
        rules.add(REFUSED_IPS, f"{ip} . {port.protocol} . {port.port}")
    if port.node_port:
        rules.add(REFUSED_NODE_PORTS, f"{port.protocol} . {port.node_port}")


def _spread(rules: Rules, port: ServicePort, endpoints: Iterable[Endpoint]) -> tuple[str, ...]:
    endpoints = list(endpoints)
    if port.affinity_seconds:
        return _spread_with_affinity(rules, port, endpoints)
    numbered = ", ".join(f"{number} : {each.ip} . {each.port}" for number, each in enumerate(endpoints))
    return (f"meta l4proto {port.protocol} dnat ip to numgen random mod {len(endpoints)} map {{ {numbered} }}",)


def _spread_with_affinity(rules: Rules, port: ServicePort, endpoints: list[Endpoint]) -> tuple[str, ...]:
    """A chain and a set of recent clients for each endpoint; the clients' entries die with the endpoint's set."""
    known: list[str] = []
    chains: list[str] = []
    for each in endpoints:
        where = f"{port.name}/{each.ip}/{each.port}"
        recent = f"aff/{where}/{port.affinity_seconds}"
        rules.sets[recent] = f"type ipv4_addr ; flags dynamic,timeout ; timeout {port.affinity_seconds}s ;"
        translate = f"meta l4proto {port.protocol} dnat ip to {each.ip}:{each.port}"
        rules.chains[f"ep/{where}"] = (f"update @{recent} {{ ip saddr }}", translate)
        known.append(f"ip saddr @{recent} goto ep/{where}")
        chains.append(f"{len(chains)} : goto ep/{where}")
    return (*known, f"numgen random mod {len(chains)} vmap {{ {', '.join(chains)} }}")


def _plan_udp(rules: Rules, port: ServicePort) -> None:
    targets = frozenset((each.ip, each.port) for each in port.endpoints)
    for ip in (*port.cluster_ips, *port.external_ips):
        rules.udp[ip, port.port] = targets
    if port.node_port:
        rules.udp["", port.node_port] = targets
