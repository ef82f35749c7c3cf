"""Whether this node can take a pod that was bound to it: the last check, for bindings race. Pure.

Source: kubelet ``lifecycle/predicate.go``, ``lifecycle/handlers``, ``sysctl/allowlist.go``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from node.agent.pod_state import Object, init_containers, is_sidecar, regular_containers
from node.agent.resources import pod_requests
from node.agent.security import apparmor_profiles
from node.agent.status import Verdict

STRICT_GROUPS: Final = "SupplementalGroupsPolicy=Strict is not supported in this node"
_MILLI: Final = 1000
_SYSCTLS: Final = """kernel.shm_rmid_forced net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports
net.ipv4.ip_unprivileged_port_start net.ipv4.ping_group_range net.ipv4.tcp_fin_timeout net.ipv4.tcp_keepalive_intvl
net.ipv4.tcp_keepalive_probes net.ipv4.tcp_keepalive_time net.ipv4.tcp_rmem net.ipv4.tcp_syncookies net.ipv4.tcp_wmem"""
_SAFE_SYSCTLS: Final = frozenset(_SYSCTLS.split())
_OF_IPC: Final = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")


def check(pod: Object, others: Iterable[Object], allocatable: Mapping[str, Decimal]) -> Verdict | None:
    """Why ``pod`` cannot run beside ``others`` (the active pods of the node); None when it can."""
    running = list(others)
    return check_resources(pod, running, allocatable) or _check_ports(pod, running)


def check_apparmor(pod: Object, enabled: bool) -> Verdict | None:
    """A pod that wants an AppArmor profile on a machine without AppArmor. Source: ``pkg/security/apparmor``."""
    if enabled or not apparmor_profiles(pod) - {"Unconfined"}:
        return None
    return Verdict("Failed", "AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")


def check_groups(spec: Object, strict: bool | None) -> Verdict | None:
    """A pod that wants no other groups than its own, on a runtime that cannot see to it (None: not known yet)."""
    if strict is not False or not wants_strict_groups(spec):
        return None
    return Verdict("Failed", "SupplementalGroupsPolicyNotSupported", STRICT_GROUPS)


def wants_strict_groups(spec: Object) -> bool:
    return (spec.get("securityContext") or {}).get("supplementalGroupsPolicy") == "Strict"


def check_sysctls(spec: Object, unsafe: Sequence[str]) -> Verdict | None:
    """Why a pod may not have the sysctls that it asks for; ``unsafe``: allowed besides the safe ones."""
    for one in (spec.get("securityContext") or {}).get("sysctls") or ():
        name = one["name"].replace("/", ".")
        if problem := _forbidden(name, spec, unsafe):
            return Verdict("Failed", "SysctlForbidden", f'forbidden sysctl: "{name}" {problem}')
    return None


def _forbidden(name: str, spec: Object, unsafe: Sequence[str]) -> str:
    if spec.get("hostNetwork") and name.startswith("net."):
        return "not allowed with host net enabled"
    if spec.get("hostIPC") and name.startswith(_OF_IPC):
        return "not allowed with host ipc enabled"
    allowed = name in _SAFE_SYSCTLS or any(name == u or (u[-1:] == "*" and name.startswith(u[:-1])) for u in unsafe)
    return "" if allowed else "not allowlisted"


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
