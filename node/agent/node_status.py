"""A Node as its agent knows it: the object to register, and the status to report. Pure.

Source: kubelet ``kubelet_node_status.go``, ``nodestatus/setters.go``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from apimachinery import quantity
from node.agent.host import Load, Machine
from node.agent.pod_state import Object
from node.agent.pressure import DISK, MEMORY, PIDS
from node.agent.settings import KUBELET_VERSION, AgentSettings
from node.agent.times import rfc3339
from protos.cri.runtime.v1 import api_pb2 as pb

MAX_IMAGES: Final = 50
_ABILITIES: Final = ("runtimeHandlers", "features")


@dataclass(frozen=True, slots=True)
class NodeView:
    """All that a node's status is made from. ``not_ready`` is why it is not, "" when it is."""

    settings: AgentSettings
    machine: Machine
    load: Load
    runtime: pb.VersionResponse
    told: pb.StatusResponse | None  # the runtime's own status; None when it does not answer
    images: Sequence[pb.Image]
    not_ready: str
    now: float
    previous: Object  # the node's last status
    pressure: frozenset[str] = frozenset()
    volumes_in_use: frozenset[str] = frozenset()
    extended: Mapping[str, str | None] = field(default_factory=dict)


def capacity(settings: AgentSettings, machine: Machine, load: Load) -> dict[str, Decimal]:
    """Cores, bytes, pods."""
    return {
        "cpu": settings.cpus or Decimal(machine.cpus),
        "memory": Decimal(settings.memory_bytes or machine.memory),
        "ephemeral-storage": Decimal(load.disk.total),
        "pods": Decimal(settings.max_pods),
    }


def extended_resources(status: Object) -> dict[str, str | None]:
    """What is allocatable of the resources that others gave the node's capacity; None = no longer in its capacity."""
    there = {name: amount for name, amount in (status.get("capacity") or {}).items() if _is_extended(name)}
    return {name: there.get(name) for name in (*there, *(status.get("allocatable") or {})) if _is_extended(name)}


def _is_extended(resource: str) -> bool:
    return "/" in resource and "kubernetes.io/" not in resource


def node_labels(settings: AgentSettings, machine: Machine) -> dict[str, str]:
    own = {
        "kubernetes.io/hostname": settings.node_name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
    }
    return {**settings.labels, **own}


def new_node(settings: AgentSettings, machine: Machine, status: Object) -> Object:
    spec: Object = {"taints": [dict(t) for t in settings.taints]} if settings.taints else {}
    meta = {"name": settings.node_name, "labels": node_labels(settings, machine)}
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": spec, "status": status}


def node_status(view: NodeView) -> Object:
    """The status without heartbeat times: equal as long as nothing of interest changes."""
    amounts = {name: _amount(name, value) for name, value in capacity(view.settings, view.machine, view.load).items()}
    ips = [{"type": "InternalIP", "address": ip} for ip in view.settings.node_ips]
    in_use: Object = {"volumesInUse": sorted(view.volumes_in_use)}
    more = _abilities(view.told) if view.told else {k: view.previous[k] for k in _ABILITIES if k in view.previous}
    return (
        (in_use if view.volumes_in_use or view.previous.get("volumesInUse") else {})
        | more
        | {
            "capacity": amounts,
            "allocatable": {**amounts, **view.extended},
            "addresses": [*ips, {"type": "Hostname", "address": view.settings.node_name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": view.settings.port}},
            "nodeInfo": _info(view),
            "images": _images(view.images),
            "conditions": _conditions(view),
        }
    )


def _abilities(told: pb.StatusResponse) -> Object:
    """What the runtime can do; None = it does not say. Source: kubelet ``nodestatus/setters.go``."""
    handlers = sorted(told.runtime_handlers, key=lambda h: h.name)
    features = {"supplementalGroupsPolicy": told.features.supplemental_groups_policy}
    return {
        "runtimeHandlers": [{"name": h.name, "features": _handler_features(h.features)} for h in handlers] or None,
        "features": features if told.HasField("features") else None,
    }


def is_since(runtime: pb.VersionResponse, containerd: tuple[int, int]) -> bool:
    """Whether it has what containerd has since this version, and what no runtime tells of and others are taken to have:
    an older one ignores what it does not know."""
    numbers = re.match(r"v?(\d+)\.(\d+)", runtime.runtime_version)
    if runtime.runtime_name != "containerd" or numbers is None:
        return True
    return (int(numbers[1]), int(numbers[2])) >= containerd


def _handler_features(features: pb.RuntimeHandlerFeatures) -> Object:
    return {
        "recursiveReadOnlyMounts": features.recursive_read_only_mounts,
        "userNamespaces": features.user_namespaces,
    }


def _amount(name: str, value: Decimal) -> str:
    if name == "memory":
        return f"{int(value) // 1024}Ki"
    if name == "ephemeral-storage":
        return f"{int(value) // 1024}Ki"
    return quantity.format(value)


def _info(view: NodeView) -> Object:
    machine = view.machine
    return {
        "machineID": machine.machine_id,
        "systemUUID": machine.system_uuid,
        "bootID": machine.boot_id,
        "kernelVersion": machine.kernel,
        "osImage": machine.os_image,
        "containerRuntimeVersion": f"{view.runtime.runtime_name}://{view.runtime.runtime_version}",
        "kubeletVersion": KUBELET_VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": machine.architecture,
    }


def _images(images: Sequence[pb.Image]) -> list[Object]:
    """The largest first, as upstream reports them for the scheduler's image locality."""
    largest = sorted(images, key=lambda i: i.size, reverse=True)[:MAX_IMAGES]
    named = [([*i.repo_digests, *i.repo_tags], i.size) for i in largest]
    return [{"names": names, "sizeBytes": size} for names, size in named if names]


_TOLD: Final = {
    (MEMORY, "True"): "NodeHasInsufficientMemory",
    (MEMORY, "False"): "NodeHasSufficientMemory",
    (DISK, "True"): "NodeHasDiskPressure",
    (DISK, "False"): "NodeHasNoDiskPressure",
    (PIDS, "True"): "NodeHasInsufficientPID",
    (PIDS, "False"): "NodeHasSufficientPID",
    ("Ready", "True"): "NodeReady",
    ("Ready", "False"): "NodeNotReady",
}


def changes(old: Object, new: Object) -> list[str]:
    """The events of what has changed between two statuses; a node that has just come is not called NotReady."""
    before = {c["type"]: c["status"] for c in old.get("conditions") or ()}
    now = [(c["type"], c["status"]) for c in new["conditions"]]
    return [_TOLD[c] for c in now if before.get(c[0]) != c[1] and (before or c != ("Ready", "False"))]


def _conditions(view: NodeView) -> list[Object]:
    made = [
        _pressure(MEMORY, MEMORY in view.pressure, "Memory", "memory"),
        _disk_pressure(DISK in view.pressure),
        _pressure(PIDS, PIDS in view.pressure, "PID", "PID"),
        _ready(view.not_ready),
    ]
    old = {c["type"]: c for c in view.previous.get("conditions") or ()}
    return [_dated(c, old.get(c["type"]), view.now) for c in made]


def _pressure(kind: str, low: bool, word: str, noun: str) -> Object:
    reason = f"KubeletHas{'Insufficient' if low else 'Sufficient'}{word}"
    message = f"kubelet has {'insufficient' if low else 'sufficient'} {noun} available"
    return {"type": kind, "status": "True" if low else "False", "reason": reason, "message": message}


def _disk_pressure(low: bool) -> Object:
    if low:
        reason, message = "KubeletHasDiskPressure", "kubelet has disk pressure"
    else:
        reason, message = "KubeletHasNoDiskPressure", "kubelet has no disk pressure"
    return {"type": "DiskPressure", "status": "True" if low else "False", "reason": reason, "message": message}


def _ready(why_not: str) -> Object:
    if why_not:
        return {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": why_not}
    message = "kubelet is posting ready status"
    return {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": message}


def _dated(condition: Object, old: Object | None, now: float) -> Object:
    same = old is not None and old.get("status") == condition["status"]
    moment = (old or {}).get("lastTransitionTime") if same else None
    return condition | {"lastTransitionTime": moment or rfc3339(now)}


def runtime_problems(status: pb.StatusResponse) -> list[str]:
    """Why the runtime is not ready for pods, in upstream's words; none when it is."""
    problems = []
    conditions = {c.type: c for c in status.status.conditions}
    for name, about in (("RuntimeReady", "container runtime"), ("NetworkReady", "container runtime network")):
        c = conditions.get(name)
        if c is None:
            problems.append(f"{about} not ready: {name} is not reported")
        elif not c.status:
            problems.append(f"{about} not ready: {name}=false reason:{c.reason} message:{c.message}")
    return problems


def aggregate(problems: Sequence[str]) -> str:
    """Several errors as Go's client libraries print them."""
    return problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]" if problems else ""
