"""Requests and limits, and what they mean for the kernel: QoS class, cgroup values, OOM scores.

Source: kubelet ``cm/helpers_linux.go`` (shares, quota), ``qos/policy.go`` (OOM score), ``pkg/apis/core/v1/helper/qos``.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from apimachinery import quantity
from node.agent.pod_state import Object, init_containers, is_sidecar, regular_containers
from protos.cri.runtime.v1 import api_pb2 as pb

MIN_SHARES: Final = 2
MAX_SHARES: Final = 262144
CPU_PERIOD_US: Final = 100_000
MIN_QUOTA_US: Final = 1000
CRITICAL_PRIORITY: Final = 2_000_000_000
_GUARANTEED_SCORE: Final = -997
_BEST_EFFORT_SCORE: Final = 1000


def requests(container: Object) -> dict[str, Decimal]:
    """What a container asks for; a limit without a request is one."""
    resources = container.get("resources") or {}
    merged = (resources.get("limits") or {}) | (resources.get("requests") or {})
    return {name: quantity.parse(amount) for name, amount in merged.items()}


def limits(container: Object) -> dict[str, Decimal]:
    given = (container.get("resources") or {}).get("limits") or {}
    return {name: quantity.parse(amount) for name, amount in given.items()}


def limits_in(pod: Object, container: Object) -> dict[str, Decimal]:
    """A container's limits; the pod's own hold for what it has none of. Source: KEP-2837."""
    return limits(pod["spec"]) | limits(container)


def pod_requests(pod: Object) -> dict[str, Decimal]:
    """What the whole pod needs of its node: containers and sidecars, or the largest init phase, plus overhead.

    What it asks for as a whole takes the place of that sum.
    """
    total = _sum(requests(c) for c in regular_containers(pod))
    sidecars: dict[str, Decimal] = {}
    largest: dict[str, Decimal] = {}
    for container in init_containers(pod):
        own = requests(container)
        if is_sidecar(container):
            sidecars = _sum([sidecars, own])
            own = {}
        largest = _max(largest, _sum([sidecars, own]))
    overhead = {k: quantity.parse(v) for k, v in (pod["spec"].get("overhead") or {}).items()}
    return _sum([_max(_sum([total, sidecars]), largest) | requests(pod["spec"]), overhead])


def _sum(parts: Iterable[dict[str, Decimal]]) -> dict[str, Decimal]:
    out: dict[str, Decimal] = {}
    for part in parts:
        for name, amount in part.items():
            out[name] = out.get(name, Decimal(0)) + amount
    return out


def _max(left: dict[str, Decimal], right: dict[str, Decimal]) -> dict[str, Decimal]:
    return {name: max(left.get(name, Decimal(0)), right.get(name, Decimal(0))) for name in left.keys() | right.keys()}


def qos_class(pod: Object) -> str:
    """``Guaranteed``, ``Burstable`` or ``BestEffort``: what the API server stored, else computed."""
    stored = (pod.get("status") or {}).get("qosClass")
    if stored:
        return str(stored)
    whole = pod["spec"].get("resources")
    containers = [pod["spec"]] if whole else [*init_containers(pod), *regular_containers(pod)]
    measured = [(_of(requests(c)), _of(limits(c))) for c in containers]
    if not any(req or lim for req, lim in measured):
        return "BestEffort"
    if all(set(lim) == {"cpu", "memory"} and req == lim for req, lim in measured):
        return "Guaranteed"
    return "Burstable"


def _of(amounts: dict[str, Decimal]) -> dict[str, Decimal]:
    return {name: v for name, v in amounts.items() if name in ("cpu", "memory") and v > 0}


def shares(cores: Decimal) -> int:
    """CPU shares of a request in cores."""
    return min(max(int(cores * 1024), MIN_SHARES), MAX_SHARES)


def quota(cores: Decimal) -> int:
    """Microseconds of CPU a period of 100 ms; 0 = no limit."""
    return max(int(cores * CPU_PERIOD_US), MIN_QUOTA_US) if cores else 0


def is_critical(pod: Object) -> bool:
    """Whether the cluster cannot do without the pod."""
    return int(pod["spec"].get("priority") or 0) >= CRITICAL_PRIORITY


def oom_score_adj(pod: Object, container: Object, memory_capacity: int) -> int:
    """How early the kernel kills the container when memory runs out: -997 (last) to 1000 (first)."""
    if is_critical(pod):
        return _GUARANTEED_SCORE
    qos = qos_class(pod)
    if qos == "Guaranteed":
        return _GUARANTEED_SCORE
    if qos == "BestEffort":
        return _BEST_EFFORT_SCORE
    request = int(requests(container).get("memory", Decimal(0)) + _share_of_rest(pod))
    score = 1000 - (1000 * request) // max(memory_capacity, 1)
    return min(max(score, 1000 + _GUARANTEED_SCORE), _BEST_EFFORT_SCORE - 1)


def _share_of_rest(pod: Object) -> Decimal:
    """A container's part of the memory that the pod as a whole asks for beyond its containers."""
    whole = requests(pod["spec"]).get("memory")
    containers = [*(c for c in init_containers(pod) if is_sidecar(c)), *regular_containers(pod)]
    if whole is None:
        return Decimal(0)
    asked = _sum(requests(c) for c in containers).get("memory", Decimal(0))
    return max(whole - asked, Decimal(0)) / len(containers)


def cri_resources(pod: Object, container: Object, memory_capacity: int) -> pb.LinuxContainerResources:
    """The cgroup values of one container."""
    req, lim = requests(container), limits_in(pod, container)
    resources = pb.LinuxContainerResources(
        cpu_shares=shares(req.get("cpu", lim.get("cpu", Decimal(0)))),
        memory_limit_in_bytes=int(lim.get("memory", Decimal(0))),
        oom_score_adj=oom_score_adj(pod, container, memory_capacity),
    )
    if lim.get("cpu"):
        resources.cpu_period, resources.cpu_quota = CPU_PERIOD_US, quota(lim["cpu"])
    return resources
