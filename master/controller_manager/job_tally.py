"""What a Job's pods say, on top of what its status has counted already. Pure.

A finished pod is counted exactly once, over restarts and deletions: its uid is put into
``status.uncountedTerminatedPods``, then its finalizer is removed, and when it has none any more the uid makes
room for one more in the count. A pod without the finalizer has been counted.

Source: KEP-2307, ``pkg/controller/job/job_controller.go``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from apimachinery import pods as pod_facts
from apimachinery.meta import Object, is_deleting, uid_of
from master.controller_manager.job_indexes import failures_of, index_of, parse
from master.controller_manager.job_policies import Match, judge

FINALIZER = "batch.kubernetes.io/job-tracking"


@dataclass
class Tally:
    """Counts include what is uncounted still. Index sets are empty for jobs without indexes."""

    active: list[Object] = field(default_factory=list)
    terminating: int = 0
    ready: int = 0
    succeeded: int = 0
    failed: int = 0
    counted_succeeded: int = 0
    counted_failed: int = 0
    uncounted_succeeded: list[str] = field(default_factory=list)  # uids
    uncounted_failed: list[str] = field(default_factory=list)
    to_release: list[Object] = field(default_factory=list)  # finished pods that have the finalizer
    succeeded_indexes: set[int] = field(default_factory=set)
    failed_indexes: set[int] = field(default_factory=set)
    failures: dict[int, int] = field(default_factory=dict)  # index -> failed pods that count
    fail_job: str = ""  # why the pod failure policy says so


def has_finalizer(pod: Object) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def is_indexed(job: Object) -> bool:
    return str(job["spec"].get("completionMode")) == "Indexed"


def replaces_only_failed(job: Object) -> bool:
    return str(job["spec"].get("podReplacementPolicy")) == "Failed"


def has_failed(job: Object, pod: Object) -> bool:
    """A pod that is being deleted has failed, too, unless replacements wait for it to end."""
    if pod_facts.phase(pod) == "Failed":
        return True
    return is_deleting(pod) and pod_facts.phase(pod) != "Succeeded" and not replaces_only_failed(job)


def tally(job: Object, pods: Sequence[Object]) -> Tally:
    """Count ``pods``, all that the Job owns."""
    status = job.get("status") or {}
    uncounted = status.get("uncountedTerminatedPods") or {}
    held = {uid_of(p) for p in pods if has_finalizer(p)}
    found = Tally(
        counted_succeeded=int(status.get("succeeded") or 0),
        counted_failed=int(status.get("failed") or 0),
    )
    for uid in uncounted.get("succeeded") or ():
        if uid in held:
            found.uncounted_succeeded.append(uid)
        else:
            found.counted_succeeded += 1
    for uid in uncounted.get("failed") or ():
        if uid in held:
            found.uncounted_failed.append(uid)
        else:
            found.counted_failed += 1
    limit = job["spec"].get("completions")
    if is_indexed(job):
        found.succeeded_indexes = parse(status.get("completedIndexes"), limit)
        found.failed_indexes = parse(status.get("failedIndexes"), limit)
    for pod in pods:
        _add(job, found, pod)
    found.succeeded = found.counted_succeeded + len(found.uncounted_succeeded)
    found.failed = found.counted_failed + len(found.uncounted_failed)
    if is_indexed(job):
        found.succeeded = len(found.succeeded_indexes)
        _fail_indexes(job, found)
    return found


def _add(job: Object, found: Tally, pod: Object) -> None:
    if is_deleting(pod) and not pod_facts.is_finished(pod):
        found.terminating += 1
    if pod_facts.phase(pod) == "Succeeded":
        _add_success(job, found, pod)
    elif has_failed(job, pod):
        _add_failure(job, found, pod)
    elif pod_facts.is_active(pod):
        found.active.append(pod)
        found.ready += pod_facts.is_ready(pod)


def _add_success(job: Object, found: Tally, pod: Object) -> None:
    index = index_of(pod)
    if is_indexed(job) and (index is None or index >= int(job["spec"]["completions"])):
        if has_finalizer(pod):
            found.to_release.append(pod)
        return
    if is_indexed(job) and index is not None:
        found.succeeded_indexes.add(index)
    if has_finalizer(pod):
        found.to_release.append(pod)
        if uid_of(pod) not in found.uncounted_succeeded:
            found.uncounted_succeeded.append(uid_of(pod))


def _add_failure(job: Object, found: Tally, pod: Object) -> None:
    match = judge(job, pod) if pod_facts.phase(pod) == "Failed" else Match("Count")
    if match.action == "FailJob":
        found.fail_job = found.fail_job or match.message
    index = index_of(pod)
    if index is not None and is_indexed(job):
        counts = match.action != "Ignore"
        found.failures[index] = max(found.failures.get(index, 0), failures_of(pod) + counts)
        if match.action == "FailIndex":
            found.failed_indexes.add(index)
    if not has_finalizer(pod):
        return
    found.to_release.append(pod)
    if match.action != "Ignore" and uid_of(pod) not in found.uncounted_failed:
        found.uncounted_failed.append(uid_of(pod))


def _fail_indexes(job: Object, found: Tally) -> None:
    limit = job["spec"].get("backoffLimitPerIndex")
    if limit is not None:
        found.failed_indexes |= {i for i, n in found.failures.items() if n > int(limit)}
        found.failed_indexes -= found.succeeded_indexes
