"""Which pod goes first when a node is short of something, and in which words. Pure.

Source: kubelet ``eviction/helpers.go`` (rankMemoryPressure, rankDiskPressureFunc, rankPIDPressure, evictionMessage) and
``eviction_manager.go`` (local storage limits).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from apimachinery import quantity
from node.agent.cri_configs import grace_period
from node.agent.pod_state import Object, init_containers, regular_containers
from node.agent.pressure import MEMORY, Seen, Threshold
from node.agent.resources import is_critical, pod_requests, qos_class
from node.agent.status import TERMINATED_BY_KUBELET, Verdict

_IMMEDIATE: Final = 1  # second


@dataclass(frozen=True, slots=True)
class Use:
    """What a pod uses, in bytes: memory, writable layers and logs by container; disk by emptyDir."""

    containers: Mapping[str, int] = field(default_factory=dict)
    layers: Mapping[str, int] = field(default_factory=dict)
    logs: Mapping[str, int] = field(default_factory=dict)
    volumes: Mapping[str, int] = field(default_factory=dict)

    def of(self, threshold: Threshold, apart: bool) -> int:
        """Of what the node is short of. Processes are not counted by pod: for want of them, priority alone decides."""
        if threshold.resource in ("memory", "pids"):
            return sum(self.containers.values()) if threshold.resource == "memory" else 0
        images = sum(self.layers.values())
        return images if apart and threshold.signal.startswith("imagefs") else self.on_node(apart)

    def on_node(self, apart: bool) -> int:
        """All that is on the node's own file system."""
        layers = 0 if apart else sum(self.layers.values())
        return layers + sum(self.logs.values()) + sum(self.volumes.values())


def evictable(pod: Object) -> bool:
    """A node never evicts what the cluster cannot do without."""
    return not is_critical(pod)


def ranked(pods: Iterable[Object], uses: Mapping[str, Use], worst: Threshold, apart: bool) -> list[Object]:
    """First those that use more than they asked for, then by priority, then by how much more."""

    def rank(pod: Object) -> tuple[bool, int, Decimal]:
        asked = pod_requests(pod).get(worst.resource, Decimal(0))
        over = Decimal(_use(pod, uses).of(worst, apart)) - asked
        return over <= 0, int(pod["spec"].get("priority") or 0), -over

    return sorted((p for p in pods if evictable(p)), key=rank)


def _use(pod: Object, uses: Mapping[str, Use]) -> Use:
    return uses.get(pod["metadata"]["uid"], Use())


def evicted(pod: Object, threshold: Threshold, seen: Seen, uses: Mapping[str, Use], longest: int) -> Verdict:
    """What an evicted pod says of itself. ``longest`` is its grace period, in seconds, at a soft threshold."""
    resource, use = threshold.resource, _use(pod, uses)
    message = f"The node was low on resource: {resource}. "
    quantities = (threshold.least.of(seen.capacity), seen.available)
    message += "Threshold quantity: {}, available: {}. ".format(*(quantity.format(q, "BinarySI") for q in quantities))
    used: Mapping[str, int] = use.containers if resource == "memory" else {}
    if resource == "ephemeral-storage":
        used = {name: size + use.logs.get(name, 0) for name, size in use.layers.items()}
    for container in (*regular_containers(pod), *init_containers(pod)):
        mine = used.get(container["name"], 0)
        asked = ((container.get("resources") or {}).get("requests") or {}).get(resource, "0")
        if mine > quantity.parse(asked):
            amounts = f"{quantity.format(mine, 'BinarySI')}, request is {quantity.canonical(asked)}"
            message += f"Container {container['name']} was using {amounts}, has larger consumption of {resource}. "
    grace = min(longest, grace_period(pod)) if threshold.grace else _IMMEDIATE
    return Verdict("Failed", "Evicted", message, grace=grace, disruption=TERMINATED_BY_KUBELET)


def over_local_storage(pod: Object, use: Use, apart: bool = False) -> Verdict | None:
    """Whether a pod has outgrown its emptyDirs' sizeLimit or its ephemeral-storage limits."""
    for volume in pod["spec"].get("volumes") or ():
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit and 0 < quantity.value(limit) < use.volumes.get(volume["name"], 0):
            return _over(
                f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{quantity.canonical(limit)}". '
            )
    given = {c["name"]: text for c in regular_containers(pod) if (text := _storage_limit(c))}
    total = Decimal(sum(quantity.parse(text) for text in given.values()))
    if given and use.on_node(apart) > total:
        most = quantity.format(total, "BinarySI")
        return _over(f"Pod ephemeral local storage usage exceeds the total limit of containers {most}. ")
    for name, text in given.items():
        if use.logs.get(name, 0) + (0 if apart else use.layers.get(name, 0)) > quantity.parse(text):
            return _over(f'Container {name} exceeded its local ephemeral storage limit "{quantity.canonical(text)}". ')
    return None


def _storage_limit(container: Object) -> str:
    limits = (container.get("resources") or {}).get("limits") or {}
    return str(limits.get("ephemeral-storage", ""))


def has_storage_limits(pod: Object) -> bool:
    volumes = pod["spec"].get("volumes") or ()
    sized = any((v.get("emptyDir") or {}).get("sizeLimit") for v in volumes)
    return sized or any(_storage_limit(c) for c in regular_containers(pod))


def refused_under_pressure(pod: Object, pressure: frozenset[str]) -> Verdict | None:
    """Whether a node that is short of something takes a new pod at all. Source: kubelet ``eviction_manager.go``."""
    if not pressure or is_critical(pod):
        return None
    tolerated = {t.get("key") for t in pod["spec"].get("tolerations") or () if t.get("operator") == "Exists"}
    harmless = qos_class(pod) != "BestEffort" or "node.kubernetes.io/memory-pressure" in tolerated
    if pressure == {MEMORY} and harmless:
        return None
    message = f"The node had condition: [{' '.join(sorted(pressure))}]. "
    return Verdict("Failed", "Evicted", message)


def _over(message: str) -> Verdict:
    return Verdict("Failed", "Evicted", message, grace=_IMMEDIATE)
