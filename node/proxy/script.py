"""Plans as nft scripts: the whole table, or the difference between two plans. Each is one transaction."""

from collections.abc import Iterable, Iterator, Mapping

from node.proxy.plan import CLUSTER_IPS, HAIRPIN, NODE_PORTS, REFUSED_IPS, REFUSED_NODE_PORTS, SERVICE_IPS, Rules

TABLE = "kubeto-proxy"
_MASQUERADE = "0x4000"

_CONTAINERS = {
    SERVICE_IPS: "map type ipv4_addr . inet_proto . inet_service : verdict",
    NODE_PORTS: "map type inet_proto . inet_service : verdict",
    CLUSTER_IPS: "set type ipv4_addr",
    HAIRPIN: "set type ipv4_addr . ipv4_addr",
    REFUSED_IPS: "set type ipv4_addr . inet_proto . inet_service",
    REFUSED_NODE_PORTS: "set type inet_proto . inet_service",
}
_LOOK_UP = "jump services"
_REFUSE = "jump refuse"
_BASE_CHAINS: dict[str, tuple[str, ...]] = {
    "services": (
        f"ip daddr . meta l4proto . th dport vmap @{SERVICE_IPS}",
        # 127.0.0.1 would need route_localnet, which opens the node's loopback to its neighbours.
        f"ip daddr != 127.0.0.0/8 fib daddr type local meta l4proto . th dport vmap @{NODE_PORTS}",
    ),
    "refuse": (
        # The cluster DNS address may be a Service's and is the node's own as well: what is local is not refused.
        f"fib daddr type != local ip daddr @{CLUSTER_IPS} reject",
        f"ip daddr . meta l4proto . th dport @{REFUSED_IPS} reject",
        f"fib daddr type local meta l4proto . th dport @{REFUSED_NODE_PORTS} reject",
    ),
    "prerouting { type nat hook prerouting priority -100 ; }": (_LOOK_UP,),
    "output { type nat hook output priority -100 ; }": (_LOOK_UP,),
    "postrouting { type nat hook postrouting priority 100 ; }": (
        f"meta mark & {_MASQUERADE} == {_MASQUERADE} meta mark set meta mark ^ {_MASQUERADE} masquerade fully-random",
        f"ip saddr . ip daddr @{HAIRPIN} masquerade fully-random",
    ),
    "filter-input { type filter hook input priority 0 ; }": (f"ct state new {_REFUSE}",),
    "filter-forward { type filter hook forward priority 0 ; }": (f"ct state new {_REFUSE}",),
    "filter-output { type filter hook output priority 0 ; }": (f"ct state new {_REFUSE}",),
}


def replace(rules: Rules) -> str:
    """Put the table with ``rules`` in the place of whatever is there; between the two there is no moment without."""
    lines = [f"add table ip {TABLE}", f"delete table ip {TABLE}", f"add table ip {TABLE}"]
    for name, definition in _CONTAINERS.items():
        kind, _, type_ = definition.partition(" ")
        lines.append(f"add {kind} ip {TABLE} {name} {{ {type_} ; }}")
    lines += [f"add chain ip {TABLE} {chain}" for chain in _BASE_CHAINS]
    for chain, statements in _BASE_CHAINS.items():
        lines += _rules(chain.partition(" ")[0], statements)
    return "\n".join(lines) + "\n" + change(Rules(), rules)


def change(old: Rules, new: Rules) -> str:
    """From ``old`` to ``new``; "" when they are equal.

    The order is the one that references allow: what is referred to comes before and goes after what refers to it.
    """
    lines = [f"add set ip {TABLE} {name} {{ {new.sets[name]} }}" for name in _added(old.sets, new.sets)]
    lines += [f"add chain ip {TABLE} {name}" for name in _added(old.chains, new.chains)]
    for name, statements in new.chains.items():
        before = old.chains.get(name)
        if before != statements:
            lines += [f"flush chain ip {TABLE} {name}"] if before is not None else []
            lines += _rules(name, statements)
    for container in _CONTAINERS:
        lines += _elements(container, old.elements.get(container, {}), new.elements.get(container, {}))
    gone = _added(new.chains, old.chains)
    lines += [f"flush chain ip {TABLE} {name}" for name in gone]
    lines += [f"delete chain ip {TABLE} {name}" for name in gone]
    lines += [f"delete set ip {TABLE} {name}" for name in _added(new.sets, old.sets)]
    return "\n".join(lines) + "\n" if lines else ""


def _rules(chain: str, statements: Iterable[str]) -> Iterator[str]:
    return (f"add rule ip {TABLE} {chain} {statement}" for statement in statements)


def _elements(container: str, old: dict[str, str], new: dict[str, str]) -> Iterator[str]:
    gone = [key for key, value in old.items() if new.get(key) != value]
    if gone:
        yield f"delete element ip {TABLE} {container} {{ {', '.join(gone)} }}"
    added = [f"{key} : {value}" if value else key for key, value in new.items() if old.get(key) != value]
    if added:
        yield f"add element ip {TABLE} {container} {{ {', '.join(added)} }}"


def _added(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return [name for name in new if name not in old]
