"""What to do about a Job: its verdict, the pods to start and to delete, its next status. Pure.

Source: ``pkg/controller/job/job_controller.go``. A verdict shows first as an intention (``FailureTarget``,
``SuccessCriteriaMet``) and becomes final (``Failed``, ``Complete``) when no pod runs and all are counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from apimachinery import pods as pod_facts
from apimachinery.meta import (
    Object,
    condition_is_true,
    format_time,
    get_condition,
    is_deleting,
    parse_time,
    uid_of,
    with_condition,
)
from master.controller_manager.job_indexes import index_of, ranges
from master.controller_manager.job_policies import success_rule
from master.controller_manager.job_tally import Tally, has_failed, is_indexed, replaces_only_failed

MAX_PODS_PER_STEP = 500
_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS = 10.0, 600.0
_INTENTION = {"Failed": "FailureTarget", "Complete": "SuccessCriteriaMet"}


@dataclass(frozen=True)
class Verdict:
    """``type``: Failed or Complete."""

    type: str
    reason: str
    message: str


@dataclass
class Step:
    """``create``: one entry a pod: its index, or None. ``wait``: seconds until more may be created."""

    create: list[int | None] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    wait: float | None = None


def is_finished(job: Object) -> bool:
    return condition_is_true(job, "Complete") or condition_is_true(job, "Failed")


def is_suspended(job: Object) -> bool:
    return bool(job["spec"].get("suspend"))


def verdict(job: Object, found: Tally, now: datetime) -> Verdict | None:
    """How the Job ends, if that is known: what was announced stays."""
    for final, intention in _INTENTION.items():
        announced = get_condition(job, intention)
        if announced is not None and announced.get("status") == "True":
            return Verdict(final, announced.get("reason", ""), announced.get("message", ""))
    return _failure(job, found, now) or _success(job, found)


def _failure(job: Object, found: Tally, now: datetime) -> Verdict | None:
    spec = job["spec"]
    if found.fail_job:
        return Verdict("Failed", "PodFailurePolicy", found.fail_job)
    limit = int(spec.get("backoffLimit", 6))
    on_failure = (spec["template"].get("spec") or {}).get("restartPolicy") == "OnFailure"
    restarts = sum(pod_facts.restarts(p) for p in found.active) if on_failure else 0
    if found.failed > limit or (on_failure and restarts and restarts >= limit):
        return Verdict("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = seconds_to_deadline(job, now)
    if left is not None and left <= 0:
        return Verdict("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    return _failed_indexes(job, found) if found.failed_indexes else None


def _failed_indexes(job: Object, found: Tally) -> Verdict | None:
    most = job["spec"].get("maxFailedIndexes")
    if most is not None and len(found.failed_indexes) > int(most):
        message = "Job has exceeded the specified maximal number of failed indexes"
        return Verdict("Failed", "MaxFailedIndexesExceeded", message)
    if len(found.failed_indexes | found.succeeded_indexes) >= int(job["spec"]["completions"]):
        return Verdict("Failed", "FailedIndexes", "Job has failed indexes")
    return None


def _success(job: Object, found: Tally) -> Verdict | None:
    rule = success_rule(job, found.succeeded_indexes)
    if rule is not None:
        return Verdict("Complete", "SuccessPolicy", f"Matched rules at index {rule}")
    wanted = job["spec"].get("completions")
    if wanted is None:
        reached = found.succeeded > 0 and not found.active
    else:
        reached = (found.succeeded >= int(wanted) and not is_suspended(job)) or (int(wanted) == 0)
    if reached:
        return Verdict("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
    return None


def seconds_to_deadline(job: Object, now: datetime) -> float | None:
    seconds, start = job["spec"].get("activeDeadlineSeconds"), (job.get("status") or {}).get("startTime")
    if seconds is None or not start or is_suspended(job):
        return None
    return float(seconds) - (now - parse_time(start)).total_seconds()


def plan(job: Object, found: Tally, pods: Sequence[Object], end: Verdict | None, now: datetime) -> Step:
    """Which pods to start and which to delete."""
    if end is not None or is_suspended(job):
        return Step(delete=found.active[:MAX_PODS_PER_STEP])
    wanted = _wanted(job, found)
    duplicates = _duplicates(job, found)
    surplus = len(found.active) - len(duplicates) - wanted
    if surplus > 0:
        rest = [p for p in found.active if p not in duplicates]
        return Step(delete=[*duplicates, *sorted(rest, key=_worth)[:surplus]][:MAX_PODS_PER_STEP])
    missing = -surplus
    if replaces_only_failed(job):
        missing -= found.terminating
    indexes: list[int | None] = [None] * max(0, missing)
    if is_indexed(job):
        indexes = list(_free_indexes(job, found, pods)[: max(0, missing)])
    return _after_backoff(job, pods, Step(create=indexes[:MAX_PODS_PER_STEP], delete=duplicates), now)


def _wanted(job: Object, found: Tally) -> int:
    """How many pods should be active."""
    parallelism, completions = int(job["spec"].get("parallelism", 1)), job["spec"].get("completions")
    if completions is None:
        return len(found.active) if found.succeeded > 0 else parallelism
    done = len(found.succeeded_indexes | found.failed_indexes) if is_indexed(job) else found.succeeded
    return max(0, min(int(completions) - done, parallelism))


def _duplicates(job: Object, found: Tally) -> list[Object]:
    """Active pods of an index that has another, is done, or does not exist."""
    if not is_indexed(job):
        return []
    taken = found.succeeded_indexes | found.failed_indexes
    seen: set[int] = set()
    extra = []
    for pod in sorted(found.active, key=_worth, reverse=True):
        index = index_of(pod)
        if index is None or index in seen or index in taken or index >= int(job["spec"]["completions"]):
            extra.append(pod)
        else:
            seen.add(index)
    return extra


def _worth(pod: Object) -> tuple[object, ...]:
    """Smaller is deleted first: not assigned, not running, not ready, young."""
    age = parse_time(pod["metadata"]["creationTimestamp"]).timestamp()
    running = pod_facts.phase(pod) == "Running"
    return bool(pod_facts.node_name(pod)), running, pod_facts.is_ready(pod), -age, uid_of(pod)


def _free_indexes(job: Object, found: Tally, pods: Sequence[Object]) -> list[int]:
    busy = {index_of(p) for p in found.active}
    if replaces_only_failed(job):
        busy |= {index_of(p) for p in pods if is_deleting(p) and not pod_facts.is_finished(p)}
    taken = busy | found.succeeded_indexes | found.failed_indexes
    return [i for i in range(int(job["spec"]["completions"])) if i not in taken]


def _after_backoff(job: Object, pods: Sequence[Object], step: Step, now: datetime) -> Step:
    """Hold back what would start before the delay after failures is over."""
    if not step.create:
        return step
    if not is_indexed(job) or job["spec"].get("backoffLimitPerIndex") is None:
        wait = _backoff(job, pods, now)
        return Step([], step.delete, wait) if wait > 0 else step
    waits = {i: _backoff(job, [p for p in pods if index_of(p) == i], now) for i in step.create}
    held = [w for w in waits.values() if w > 0]
    return Step([i for i in step.create if waits[i] <= 0], step.delete, min(held, default=None))


def _backoff(job: Object, pods: Sequence[Object], now: datetime) -> float:
    """Seconds to wait: 10, doubled with every failure since the last success."""
    success = max((_ended(p) for p in pods if pod_facts.phase(p) == "Succeeded"), default=None)
    failures = [_ended(p) for p in pods if has_failed(job, p)]
    failures = [t for t in failures if success is None or t > success]
    if not failures:
        return 0.0
    delay = min(_MAX_BACKOFF_SECONDS, _BACKOFF_SECONDS * 2.0 ** min(len(failures) - 1, 10))
    return delay - (now - max(failures)).total_seconds()


def _ended(pod: Object) -> datetime:
    """When its last container ended, or else when it was last heard of."""
    status = pod.get("status") or {}
    ends = [
        ended["finishedAt"]
        for c in status.get("containerStatuses") or ()
        if (ended := (c.get("state") or {}).get("terminated")) and ended.get("finishedAt")
    ]
    ready = (get_condition(pod, "Ready") or {}).get("lastTransitionTime")
    text = max(ends, default=None) or ready or pod["metadata"].get("deletionTimestamp")
    return parse_time(text or pod["metadata"]["creationTimestamp"])


def next_status(job: Object, found: Tally, end: Verdict | None, active: int, now: datetime) -> Object:
    """The status now. ``active``: pods that run after this step."""
    old = job.get("status") or {}
    conditions = _suspension(job, list(old.get("conditions") or ()), now)
    status: Object = {
        **old,
        "active": active,
        "ready": found.ready if active else 0,
        "terminating": found.terminating,
        "succeeded": found.counted_succeeded,
        "failed": found.counted_failed,
        "uncountedTerminatedPods": _uncounted(found),
    }
    if is_indexed(job):
        status["completedIndexes"] = ranges(found.succeeded_indexes)
        status["succeeded"] = found.succeeded
        if job["spec"].get("backoffLimitPerIndex") is not None:
            status["failedIndexes"] = ranges(found.failed_indexes)
    if is_suspended(job) and end is None:
        status.pop("startTime", None)
    elif not old.get("startTime") and not is_suspended(job):
        status["startTime"] = format_time(now)
    if end is not None:
        conditions = _announce(conditions, _INTENTION[end.type], end, now)
        if not active and not found.active and not found.terminating and not found.to_release:
            conditions = _announce(conditions, end.type, end, now)
            if end.type == "Complete":
                status["completionTime"] = format_time(now)
    return {**status, "conditions": conditions} if conditions else status


def _uncounted(found: Tally) -> Object:
    lists = {"succeeded": found.uncounted_succeeded, "failed": found.uncounted_failed}
    return {k: v for k, v in lists.items() if v}


def _announce(conditions: list[Object], type_: str, end: Verdict, now: datetime) -> list[Object]:
    if any(c["type"] == type_ and c["status"] == "True" for c in conditions):
        return conditions
    stamp = format_time(now)
    new = {"type": type_, "status": "True", "reason": end.reason, "message": end.message}
    return with_condition(conditions, {**new, "lastProbeTime": stamp, "lastTransitionTime": stamp})


def _suspension(job: Object, conditions: list[Object], now: datetime) -> list[Object]:
    current = next((c for c in conditions if c["type"] == "Suspended"), None)
    stamp = format_time(now)
    times = {"lastProbeTime": stamp, "lastTransitionTime": stamp}
    if is_suspended(job) and (current is None or current["status"] != "True"):
        told = {"status": "True", "reason": "JobSuspended", "message": "Job suspended"}
    elif not is_suspended(job) and current is not None and current["status"] == "True":
        told = {"status": "False", "reason": "JobResumed", "message": "Job resumed"}
    else:
        return conditions
    return with_condition(conditions, {"type": "Suspended", **told, **times})
