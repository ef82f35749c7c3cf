"""What a pod's fields say about it: ready, available, active, finished.

Source: ``k8s.io/kubernetes/pkg/api/v1/pod`` and ``pkg/controller/controller_utils.go``.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from apimachinery.meta import condition_is_true, get_condition, is_deleting, parse_time

FINISHED_PHASES = ("Succeeded", "Failed")


def phase(pod: Mapping[str, Any]) -> str:
    return (pod.get("status") or {}).get("phase") or "Pending"


def node_name(pod: Mapping[str, Any]) -> str:
    """The node it is bound to, "" while it is not."""
    return (pod.get("spec") or {}).get("nodeName") or ""


def is_ready(pod: Mapping[str, Any]) -> bool:
    return condition_is_true(pod, "Ready")


def is_finished(pod: Mapping[str, Any]) -> bool:
    """Whether its containers have ended for good."""
    return phase(pod) in FINISHED_PHASES


def is_active(pod: Mapping[str, Any]) -> bool:
    """Whether it counts as a replica: not finished and not being deleted."""
    return not is_finished(pod) and not is_deleting(pod)


def ready_since(pod: Mapping[str, Any]) -> datetime | None:
    """When it became ready; None if it is not, or does not say."""
    condition = get_condition(pod, "Ready")
    if condition is None or condition.get("status") != "True" or not condition.get("lastTransitionTime"):
        return None
    return parse_time(condition["lastTransitionTime"])


def available_in(pod: Mapping[str, Any], min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until it has been ready for ``min_ready_seconds``: 0 = available, None = not ready."""
    if not is_ready(pod):
        return None
    if min_ready_seconds <= 0:
        return 0.0
    since = ready_since(pod)
    if since is None:
        return None
    return max(0.0, min_ready_seconds - (now - since).total_seconds())


def is_available(pod: Mapping[str, Any], min_ready_seconds: int, now: datetime) -> bool:
    return available_in(pod, min_ready_seconds, now) == 0.0


def restarts(pod: Mapping[str, Any]) -> int:
    """The highest restart count of its containers, sidecars included."""
    status = pod.get("status") or {}
    all_statuses = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return max((int(c.get("restartCount") or 0) for c in all_statuses), default=0)
