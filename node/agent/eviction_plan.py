"""Which pod goes first when a node is short of something, and in which words. Pure.

Source: kubelet ``eviction/helpers.go`` (rankMemoryPressure, rankDiskPressureFunc, rankPIDPressure, evictionMessage) and
``eviction_manager.go`` (local storage limits).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from apimachinery import quantity
from node.agent.pod_state import Object, regular_containers
from node.agent.pressure import MEMORY, Shortage
from node.agent.resources import is_critical, limits, pod_requests, qos_class, requests
from node.agent.status import TERMINATED_BY_KUBELET, Verdict

_MI: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Use:
    """What a pod uses: bytes of memory, by container too; bytes of disk, by container and by emptyDir."""

    memory: int = 0
    containers: Mapping[str, int] = field(default_factory=dict)
    disk: Mapping[str, int] = field(default_factory=dict)
    volumes: Mapping[str, int] = field(default_factory=dict)

    @property
    def all_disk(self) -> int:
        return sum(self.disk.values()) + sum(self.volumes.values())

    def of(self, resource: str) -> int:
        """Processes are not counted by pod: for want of them, priority alone decides."""
        return {"memory": self.memory, "pids": 0}.get(resource, self.all_disk)


def evictable(pod: Object) -> bool:
    """A node never evicts what the cluster cannot do without."""
    return not is_critical(pod)


def ranked(pods: Iterable[Object], uses: Mapping[str, Use], resource: str) -> list[Object]:
    """First those that use more than they asked for, then by priority, then by how much more."""

    def rank(pod: Object) -> tuple[bool, int, Decimal]:
        over = Decimal(_use(pod, uses).of(resource)) - pod_requests(pod).get(resource, Decimal(0))
        return over <= 0, int(pod["spec"].get("priority") or 0), -over

    return sorted((p for p in pods if evictable(p)), key=rank)


def _use(pod: Object, uses: Mapping[str, Use]) -> Use:
    return uses.get(pod["metadata"]["uid"], Use())


def evicted(pod: Object, shortage: Shortage, uses: Mapping[str, Use]) -> Verdict:
    """What an evicted pod says of itself."""
    threshold, use = shortage.threshold, _use(pod, uses)
    message = f"The node was low on resource: {threshold.resource}. "
    message += f"Threshold quantity: {threshold.text}, available: {_amount(shortage.available, threshold.resource)}. "
    used = {"memory": use.containers, "ephemeral-storage": use.disk}.get(threshold.resource, {})
    for container in regular_containers(pod):
        mine = used.get(container["name"], 0)
        asked = requests(container).get(threshold.resource, Decimal(0))
        if mine > asked:
            amounts = f"{_amount(mine, threshold.resource)}, request is {_amount(int(asked), threshold.resource)}"
            more = f"has larger consumption of {threshold.resource}. "
            message += f"Container {container['name']} was using {amounts}, {more}"
    return Verdict("Failed", "Evicted", message, grace=1, disruption=TERMINATED_BY_KUBELET)


def over_local_storage(pod: Object, use: Use) -> Verdict | None:
    """Whether a pod has outgrown its emptyDirs' sizeLimit or its ephemeral-storage limits."""
    for volume in pod["spec"].get("volumes") or ():
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit and use.volumes.get(volume["name"], 0) > quantity.value(limit):
            return _over(f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". ')
    containers = regular_containers(pod)
    given = {c["name"]: limits(c).get("ephemeral-storage") for c in containers}
    for name, most in given.items():
        if most is not None and use.disk.get(name, 0) > most:
            return _over(f'Container {name} exceeded its local ephemeral storage limit "{quantity.format(most)}". ')
    known = [most for most in given.values() if most is not None]
    if len(known) == len(containers) and use.all_disk > sum(known):
        total = quantity.format(Decimal(sum(known)), "BinarySI")
        return _over(f"Pod ephemeral local storage usage exceeds the total limit of containers {total}. ")
    return None


def has_storage_limits(pod: Object) -> bool:
    volumes = pod["spec"].get("volumes") or ()
    sized = any((v.get("emptyDir") or {}).get("sizeLimit") for v in volumes)
    return sized or any("ephemeral-storage" in limits(c) for c in regular_containers(pod))


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
    return Verdict("Failed", "Evicted", message, grace=0, disruption=TERMINATED_BY_KUBELET)


def _amount(amount: int, resource: str) -> str:
    if resource in ("pids", "inodes"):
        return str(amount)
    return f"{amount // 1024}Ki" if amount < 10 * _MI else f"{amount // _MI}Mi"
