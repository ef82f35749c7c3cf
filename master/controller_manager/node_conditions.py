"""What a node's conditions should be, and the taints that follow from them. Pure.

Source: ``pkg/controller/nodelifecycle/node_lifecycle_controller.go``, KEP-382.
"""

from collections.abc import Iterable
from datetime import datetime

from apimachinery.meta import Object, format_time, get_condition, with_condition

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
WATCHED_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_TAINT_OF = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OURS = {NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_TAINT_OF.values()}


def ready_status(node: Object) -> str:
    """``True``, ``False`` or ``Unknown``."""
    return (get_condition(node, "Ready") or {}).get("status") or "Unknown"


def silent_conditions(node: Object, now: datetime) -> list[Object] | None:
    """The conditions of a node that is not heard of any more; None if they say so already."""
    conditions = list((node.get("status") or {}).get("conditions") or ())
    stamp = format_time(now)
    changed = False
    for type_ in WATCHED_CONDITIONS:
        old = get_condition(node, type_)
        if old is not None and old.get("status") == "Unknown":
            continue
        never = old is None
        reason = "NodeStatusNeverUpdated" if never else "NodeStatusUnknown"
        text = "Kubelet never posted node status." if never else "Kubelet stopped posting node status."
        heartbeat = (old or {}).get("lastHeartbeatTime") or node["metadata"].get("creationTimestamp") or stamp
        new = {"type": type_, "status": "Unknown", "reason": reason, "message": text}
        conditions = with_condition(conditions, {**new, "lastHeartbeatTime": heartbeat, "lastTransitionTime": stamp})
        changed = True
    return conditions if changed else None


def wanted_taints(node: Object, now: datetime, *, evict: bool) -> list[Object] | None:
    """The node's taints as its conditions have them; None if they are so already.

    ``evict`` False keeps pods where they are: when every node looks dead, it is this process that is cut off.
    """
    old = (node.get("spec") or {}).get("taints") or []
    kept = [t for t in old if t.get("key") not in _OURS or not _is_ours(t)]
    known = {(t.get("key"), t.get("effect")): t for t in old}
    taints = list(kept)
    for key, effect in _derived(node, evict):
        taints.append(known.get((key, effect)) or {"key": key, "effect": effect, "timeAdded": format_time(now)})
    return None if _as_set(taints) == _as_set(old) else taints


def _is_ours(taint: Object) -> bool:
    return not taint.get("value") and taint.get("effect") in {"NoSchedule", "NoExecute"}


def _derived(node: Object, evict: bool) -> Iterable[tuple[str, str]]:
    status = ready_status(node)
    if status != "True":
        key = UNREACHABLE if status == "Unknown" else NOT_READY
        yield key, "NoSchedule"
        if evict:
            yield key, "NoExecute"
    for type_, key in _TAINT_OF.items():
        if (get_condition(node, type_) or {}).get("status") == "True":
            yield key, "NoSchedule"
    if (node.get("spec") or {}).get("unschedulable"):
        yield UNSCHEDULABLE, "NoSchedule"


def _as_set(taints: Iterable[Object]) -> set[tuple[str, str, str]]:
    return {(t.get("key", ""), t.get("value") or "", t.get("effect", "")) for t in taints}
