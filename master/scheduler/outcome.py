"""What the scheduler writes besides bindings: conditions, nominations, preemption. Pure: from objects to writes."""

from datetime import datetime
from typing import Any

from apimachinery.client.api import STRATEGIC_MERGE_PATCH, Write
from apimachinery.meta import format_time, get_condition, key_of
from apimachinery.scheme import PODS
from master.scheduler.shape import Key

Object = dict[str, Any]


def has_condition(pod: Object, message: str, nominated: str) -> bool:
    """Whether the pod already says that it waits for this reason."""
    condition = get_condition(pod, "PodScheduled") or {}
    said = (condition.get("status"), condition.get("reason"), condition.get("message"))
    known = (pod.get("status") or {}).get("nominatedNodeName") or ""
    return said == ("False", "Unschedulable", message) and known == nominated


def condition_writes(pod: Object, message: str, nominated: str, now: datetime) -> list[Write]:
    """PodScheduled=False with the message, and the nominated node (or none)."""
    condition = _condition(pod, "PodScheduled", "False", "Unschedulable", message, now)
    return [_status_patch(key_of(pod), {"conditions": [condition], "nominatedNodeName": nominated or None})]


def unnominate_writes(keys: list[Key]) -> list[Write]:
    """Take the nominated node away from pods that a more important one has overtaken."""
    return [_status_patch(key, {"nominatedNodeName": None}) for key in keys]


def preemption_writes(preemptor: Object, victims: list[Object], scheduler: str, now: datetime) -> list[Write]:
    """Mark each victim as disrupted (KEP-3329), then delete it with its own grace period."""
    text = f"{scheduler}: preempting to accommodate a higher priority pod"
    writes = []
    for victim in victims:
        namespace, name = key_of(victim)
        condition = _condition(victim, "DisruptionTarget", "True", "PreemptionByScheduler", text, now)
        writes.append(_status_patch((namespace, name), {"conditions": [condition]}))
        writes.append(Write.delete(PODS, name, namespace, uid=victim["metadata"]["uid"]))
    return writes


def _condition(pod: Object, type_: str, status: str, reason: str, message: str, now: datetime) -> Object:
    old = get_condition(pod, type_) or {}
    since = old.get("lastTransitionTime") if old.get("status") == status else None
    condition: Object = {"type": type_, "status": status, "reason": reason, "message": message}
    condition |= {"lastProbeTime": None, "lastTransitionTime": since or format_time(now)}
    generation = pod["metadata"].get("generation")
    return condition | ({"observedGeneration": generation} if generation else {})


def _status_patch(key: Key, status: Object) -> Write:
    namespace, name = key
    patch = {"status": status}
    return Write.patch(PODS, name, namespace, patch, subresource="status", patch_type=STRATEGIC_MERGE_PATCH)
