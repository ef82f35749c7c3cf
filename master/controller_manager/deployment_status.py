"""The status of a Deployment. Pure.

Source: ``pkg/controller/deployment/{progress,sync}.go``; the reasons and messages are what ``kubectl rollout
status`` and people read.
"""

from collections.abc import Sequence
from datetime import datetime

from apimachinery.meta import (
    Object,
    format_time,
    get_condition,
    name_of,
    parse_time,
    without_condition,
)
from master.controller_manager.deployment_revisions import Sets, surge_and_unavailable
from master.controller_manager.deployment_rollout import total
from master.controller_manager.replicaset import replicas_of

NO_DEADLINE = 2**31 - 1
AVAILABLE, PROGRESSING, FAILURE = "Available", "Progressing", "ReplicaFailure"
TIMED_OUT, NEW_AVAILABLE = "ProgressDeadlineExceeded", "NewReplicaSetAvailable"
PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"


def condition(type_: str, status: str, reason: str, message: str, now: datetime) -> Object:
    stamp = format_time(now)
    return {
        "type": type_,
        "status": status,
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": message,
    }


def set_condition(conditions: Sequence[Object], new: Object, *, refresh: bool = False) -> list[Object]:
    """Set ``new`` unless status and reason are what they were; ``refresh`` moves its update time even then."""
    old = next((c for c in conditions if c["type"] == new["type"]), None)
    if old is not None and old["status"] == new["status"]:
        if old.get("reason") == new["reason"] and not refresh:
            return list(conditions)
        new = {**new, "lastTransitionTime": old["lastTransitionTime"]}
    return [*without_condition(conditions, new["type"]), new]


def deadline_of(deployment: Object) -> int | None:
    """Seconds, None if the Deployment has no deadline."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return None if seconds is None or seconds == NO_DEADLINE else int(seconds)


def counts(deployment: Object, sets: Sets) -> Object:
    """Everything of the status but the conditions."""

    def summed(field: str) -> int:
        return sum(int((s.get("status") or {}).get(field) or 0) for s in sets.all)

    available = summed("availableReplicas")
    status = {
        **(deployment.get("status") or {}),
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": summed("replicas"),
        "updatedReplicas": int(((sets.new or {}).get("status") or {}).get("replicas") or 0),
        "readyReplicas": summed("readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, total(sets.all) - available),
    }
    return {k: v for k, v in status.items() if v or k in {"observedGeneration", "conditions"}}


def next_status(deployment: Object, sets: Sets, now: datetime, *, rolling: bool) -> Object:
    """The status now; ``rolling`` is False while the Deployment is paused, scaled or deleted."""
    status = counts(deployment, sets)
    conditions = list((deployment.get("status") or {}).get("conditions") or ())
    conditions = set_condition(conditions, _availability(deployment, status, now))
    if rolling:
        conditions = _progress(deployment, sets, status, conditions, now)
        conditions = _failure(sets, conditions)
    return {**status, "conditions": conditions}


def _availability(deployment: Object, status: Object, now: datetime) -> Object:
    _, unavailable = surge_and_unavailable(deployment)
    if status.get("availableReplicas", 0) >= replicas_of(deployment) - unavailable:
        return condition(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    message = "Deployment does not have minimum availability."
    return condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)


def _progress(deployment: Object, sets: Sets, status: Object, conditions: list[Object], now: datetime) -> list[Object]:
    current = get_condition({"status": {"conditions": conditions}}, PROGRESSING)
    if deadline_of(deployment) is None:
        return without_condition(conditions, PROGRESSING)
    if sets.new is not None and (current is None or _is_of_another_set(current, sets.new)):
        return set_condition(conditions, _begun(sets.new, now), refresh=True)
    settled = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if settled and current is not None and current.get("reason") == NEW_AVAILABLE:
        return conditions
    about = f'ReplicaSet "{name_of(sets.new)}"' if sets.new is not None else f'Deployment "{name_of(deployment)}"'
    if is_complete(deployment, status):
        message = f"{about} has successfully progressed."
        return set_condition(conditions, condition(PROGRESSING, "True", NEW_AVAILABLE, message, now))
    if is_progressing(deployment, status):
        message = f"{about} is progressing."
        new = condition(PROGRESSING, "True", "ReplicaSetUpdated", message, now)
        return set_condition(conditions, new, refresh=True)
    if is_timed_out(deployment, now):
        message = f"{about} has timed out progressing."
        return set_condition(conditions, condition(PROGRESSING, "False", TIMED_OUT, message, now))
    return conditions


def _is_of_another_set(current: Object, new: Object) -> bool:
    """Whether the last rollout to end was that of another template: then a new one has begun."""
    return current.get("reason") == NEW_AVAILABLE and f'"{name_of(new)}"' not in current.get("message", "")


def _begun(new: Object, now: datetime) -> Object:
    message = f'Created new replica set "{name_of(new)}"'
    return condition(PROGRESSING, "True", "NewReplicaSetCreated", message, now)


def _failure(sets: Sets, conditions: list[Object]) -> list[Object]:
    """Show a ReplicaSet's failure, of the new one first."""
    rest = without_condition(conditions, FAILURE)
    for one in [*([sets.new] if sets.new is not None else []), *sets.old]:
        failure = get_condition(one, FAILURE)
        if failure is not None:
            shown = {**failure, "lastUpdateTime": failure.get("lastTransitionTime")}
            return [*rest, shown]
    return rest


def is_complete(deployment: Object, status: Object) -> bool:
    """Whether all replicas are of the new template and available, and no old ones are left."""
    wanted = replicas_of(deployment)
    numbers = [status.get(f, 0) for f in ("updatedReplicas", "replicas", "availableReplicas")]
    seen = int(status.get("observedGeneration") or 0) >= int(deployment["metadata"].get("generation") or 0)
    return numbers == [wanted] * 3 and seen


def is_progressing(deployment: Object, status: Object) -> bool:
    """Whether anything moved in the right direction since the stored status."""
    old = deployment.get("status") or {}

    def count(of: Object, field: str) -> int:
        return int(of.get(field) or 0)

    grew = any(count(status, f) > count(old, f) for f in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    old_left = count(old, "replicas") - count(old, "updatedReplicas")
    return grew or count(status, "replicas") - count(status, "updatedReplicas") < old_left


def is_timed_out(deployment: Object, now: datetime) -> bool:
    left = seconds_to_deadline(deployment, now)
    current = get_condition(deployment, PROGRESSING)
    return (current is not None and current.get("reason") == TIMED_OUT) or (left is not None and left <= 0)


def seconds_to_deadline(deployment: Object, now: datetime) -> float | None:
    """Until the rollout counts as stuck; None if it has no deadline, is done, or is known to be stuck."""
    deadline, current = deadline_of(deployment), get_condition(deployment, PROGRESSING)
    if deadline is None or current is None or current.get("reason") in {NEW_AVAILABLE, TIMED_OUT}:
        return None
    return deadline - (now - parse_time(current["lastUpdateTime"])).total_seconds()


def paused_condition(deployment: Object, now: datetime) -> Object | None:
    """The Progressing condition to set when the Deployment has just been paused or resumed."""
    current = get_condition(deployment, PROGRESSING)
    if deadline_of(deployment) is None or (current or {}).get("reason") == TIMED_OUT:
        return None
    marked = (current or {}).get("reason") == PAUSED
    if deployment["spec"].get("paused") and not marked:
        return condition(PROGRESSING, "Unknown", PAUSED, "Deployment is paused", now)
    if not deployment["spec"].get("paused") and marked:
        return condition(PROGRESSING, "Unknown", RESUMED, "Deployment is resumed", now)
    return None
