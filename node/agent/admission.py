"""Whether this node can take a pod that was bound to it: the last check, for bindings race. Pure.

Source: kubelet ``lifecycle/predicate.go``, ``lifecycle/handlers``.
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Final

from node.agent.pod_state import Object, init_containers, is_sidecar, regular_containers
from node.agent.resources import pod_requests
from node.agent.status import Verdict

_MILLI: Final = 1000


def check(pod: Object, others: Iterable[Object], allocatable: Mapping[str, Decimal]) -> Verdict | None:
    """Why ``pod`` cannot run beside ``others`` (the active pods of the node); None when it can."""
    running = list(others)
    return check_resources(pod, running, allocatable) or _check_ports(pod, running)


def check_resources(pod: Object, others: list[Object], allocatable: Mapping[str, Decimal]) -> Verdict | None:
    """Why the node has not the resources that the pod asks for beside ``others``; None when it has."""
    if "pods" in allocatable and len(others) + 1 > allocatable["pods"]:
        return _out_of("pods", Decimal(1), Decimal(len(others)), allocatable["pods"])
    used: dict[str, Decimal] = {}
    for other in others:
        for name, amount in pod_requests(other).items():
            used[name] = used.get(name, Decimal(0)) + amount
    for name, amount in sorted(pod_requests(pod).items()):
        capacity = allocatable.get(name)
        if capacity is not None and amount and used.get(name, Decimal(0)) + amount > capacity:
            return _out_of(name, amount, used.get(name, Decimal(0)), capacity)
    return None


def _out_of(name: str, requested: Decimal, used: Decimal, capacity: Decimal) -> Verdict:
    """CPU is told in thousandths, as the scheduler counts it."""
    factor = _MILLI if name == "cpu" else 1
    numbers = f"requested: {int(requested * factor)}, used: {int(used * factor)}, capacity: {int(capacity * factor)}"
    return Verdict("Failed", f"OutOf{name}", f"Node didn't have enough resource: {name}, {numbers}")


def _check_ports(pod: Object, others: list[Object]) -> Verdict | None:
    taken = [port for other in others for port in host_ports(other)]
    for ip, protocol, number in host_ports(pod):
        for other_ip, other_protocol, other_number in taken:
            same = (protocol, number) == (other_protocol, other_number)
            if same and (ip == other_ip or "0.0.0.0" in (ip, other_ip)):
                message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
                return Verdict("Failed", "NodePorts", message)
    return None


def host_ports(pod: Object) -> Iterator[tuple[str, str, int]]:
    """(host IP, protocol, port) of everything a pod takes of its node's ports."""
    sidecars = [c for c in init_containers(pod) if is_sidecar(c)]
    for container in (*regular_containers(pod), *sidecars):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", int(port["hostPort"])
