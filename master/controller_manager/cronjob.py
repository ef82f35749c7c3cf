"""CronJobs: make a Job whenever the schedule says so.

Source: ``pkg/controller/cronjob/cronjob_controllerv2.go``. A Job's name ends in its scheduled minute, so the same
run is never started twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apimachinery.errors import AlreadyExists, ApiError, NotFound
from apimachinery.meta import (
    Key,
    Object,
    annotations_of,
    format_time,
    get_condition,
    is_deleting,
    key_of,
    name_of,
    namespace_of,
    owner_reference,
    parse_time,
    uid_of,
)
from apimachinery.scheme import JOBS, kind_of
from master.controller_manager import ownership
from master.controller_manager.cron_schedule import Schedule, parse
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.job_plan import is_finished
from master.controller_manager.pod_control import in_ending_namespace
from master.controller_manager.status import write_status

CRON_JOBS = kind_of("cronjobs", "batch")
_SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_MANY_MISSED = 100


@dataclass(frozen=True)
class Due:
    """``at``: the latest moment that passed and was not run; ``missed``: how many passed."""

    at: datetime | None
    missed: int
    next: datetime | None


def schedule_of(cron_job: Object) -> Schedule:
    """Raises ValueError."""
    return parse(cron_job["spec"]["schedule"], ZoneInfo(cron_job["spec"].get("timeZone") or "UTC"))


def due(cron_job: Object, schedule: Schedule, now: datetime) -> Due:
    """What of the schedule has passed since the last run (or since it was made), not before its deadline."""
    status, deadline = cron_job.get("status") or {}, cron_job["spec"].get("startingDeadlineSeconds")
    since = parse_time(status.get("lastScheduleTime") or cron_job["metadata"]["creationTimestamp"])
    if deadline is not None:
        since = max(since, now - timedelta(seconds=int(deadline)))
    latest, missed, moment = None, 0, schedule.next(since)
    while moment is not None and moment <= now:
        latest, missed = moment, missed + 1
        if missed > _MANY_MISSED:  # far behind: start over from just before now
            moment = schedule.next(max(moment, now - timedelta(minutes=2)))
        else:
            moment = schedule.next(moment)
    return Due(latest, missed, moment)


def new_job(cron_job: Object, at: datetime) -> Object:
    template = cron_job["spec"]["jobTemplate"]
    metadata = dict(template.get("metadata") or {})
    annotations = {**(metadata.get("annotations") or {}), _SCHEDULED_AT: format_time(at)}
    metadata = {k: metadata[k] for k in ("labels",) if metadata.get(k)} | {
        "name": f"{name_of(cron_job)}-{int(at.timestamp()) // 60}",
        "namespace": namespace_of(cron_job),
        "annotations": annotations,
        "ownerReferences": [owner_reference(cron_job, CRON_JOBS)],
    }
    return {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "metadata": metadata, "spec": template["spec"]}


def surplus(cron_job: Object, jobs: Sequence[Object]) -> list[Object]:
    """Finished Jobs beyond the history limits, the oldest first."""
    found: list[Object] = []
    for type_, field, default in (
        ("Complete", "successfulJobsHistoryLimit", 3),
        ("Failed", "failedJobsHistoryLimit", 1),
    ):
        limit = cron_job["spec"].get(field)
        ended = [j for j in jobs if (get_condition(j, type_) or {}).get("status") == "True"]
        ended.sort(key=lambda j: (j.get("status") or {}).get("startTime") or j["metadata"]["creationTimestamp"])
        found += ended[: max(0, len(ended) - int(default if limit is None else limit))]
    return found


class CronJobController(ManagedController):
    name = "cronjob-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._cron_jobs = context.informers.informer(CRON_JOBS)
        self._jobs = context.informers.informer(JOBS)
        ownership.add_index(self._jobs)
        self.enqueue_object(self._cron_jobs)
        self.enqueue_by(self._jobs, lambda job: ownership.owner_keys(job, CRON_JOBS))

    async def reconcile(self, key: Key) -> float | None:
        cron_job = self._cron_jobs.store.get(*key)
        if cron_job is None or is_deleting(cron_job):
            return None
        jobs = ownership.owned(self._jobs, cron_job)
        status = self._observe(cron_job, jobs)
        again, status = await self._run_due(cron_job, jobs, status)
        await write_status(self.client, CRON_JOBS, cron_job, status)
        for job in surplus(cron_job, jobs):
            await self._delete(cron_job, job)
        return again

    def _observe(self, cron_job: Object, jobs: Sequence[Object]) -> Object:
        """The status that the Jobs give: which run, and when one last succeeded."""
        status = dict(cron_job.get("status") or {})
        listed = {r["uid"] for r in status.get("active") or ()}
        for job in jobs:
            if not (is_finished(job) or _is_scheduled(job)):
                message = f"Saw a job that the controller did not create or forgot: {name_of(job)}"
                self.events.event(cron_job, "Warning", "UnexpectedJob", message)
            if uid_of(job) in listed and is_finished(job):
                ended = "Complete" if (get_condition(job, "Complete") or {}).get("status") == "True" else "Failed"
                message = f"Saw completed job: {name_of(job)}, condition: {ended}"
                self.events.event(cron_job, "Normal", "SawCompletedJob", message)
        status["active"] = [_reference(j) for j in sorted(_running(jobs), key=key_of)]
        ends = [t for j in jobs if (t := (j.get("status") or {}).get("completionTime"))]
        if ends:
            status["lastSuccessfulTime"] = max([*ends, status.get("lastSuccessfulTime") or ""])
        return status

    async def _run_due(self, cron_job: Object, jobs: Sequence[Object], status: Object) -> tuple[float | None, Object]:
        """Start what is due. Returns the seconds until the next moment, and the status."""
        if cron_job["spec"].get("suspend"):
            return None, status
        try:
            schedule = schedule_of(cron_job)
        except ValueError as error:
            self.events.event(cron_job, "Warning", "UnparseableSchedule", f"unparseable schedule: {error}")
            return None, status
        now = self.clock.now().astimezone(UTC)
        found = due(cron_job, schedule, now)
        again = (found.next - now).total_seconds() if found.next is not None else None
        if found.missed > _MANY_MISSED:
            message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self.events.event(cron_job, "Warning", "TooManyMissedTimes", message)
        if found.at is not None and await self._may_start(cron_job, jobs):
            status = await self._start(cron_job, found.at, status)
        return again, status

    async def _may_start(self, cron_job: Object, jobs: Sequence[Object]) -> bool:
        running = _running(jobs)
        policy = cron_job["spec"].get("concurrencyPolicy", "Allow")
        if policy == "Forbid" and running:
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self.events.event(cron_job, "Normal", "JobAlreadyActive", message)
            return False
        if policy == "Replace":
            for job in running:
                await self._delete(cron_job, job)
        return True

    async def _start(self, cron_job: Object, at: datetime, status: Object) -> Object:
        """Make the Job of a moment; the status with it."""
        try:
            job = await self.client.create(JOBS, new_job(cron_job, at))
            self.events.event(cron_job, "Normal", "SuccessfulCreate", f"Created job {name_of(job)}")
            active = [*(status.get("active") or ()), _reference(job)]
            return {**status, "active": active, "lastScheduleTime": format_time(at)}
        except AlreadyExists:  # started before, and the status that says so was lost
            return {**status, "lastScheduleTime": format_time(at)}
        except ApiError as error:
            if not in_ending_namespace(error):
                self.events.event(cron_job, "Warning", "FailedCreate", f"Error creating job: {error.message}")
            raise

    async def _delete(self, cron_job: Object, job: Object) -> None:
        try:
            await self.client.delete(
                JOBS, name_of(job), namespace_of(job), uid=uid_of(job), propagation_policy="Background"
            )
        except NotFound:
            return
        self.events.event(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {name_of(job)}")


def _is_scheduled(job: Object) -> bool:
    """Whether it was made here: ``kubectl create job --from`` makes others, which run beside the schedule."""
    return _SCHEDULED_AT in annotations_of(job)


def _running(jobs: Sequence[Object]) -> list[Object]:
    return [j for j in jobs if _is_scheduled(j) and not is_finished(j) and not is_deleting(j)]


def _reference(job: Object) -> Object:
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "name": name_of(job),
        "namespace": namespace_of(job),
        "uid": uid_of(job),
        "resourceVersion": job["metadata"]["resourceVersion"],
    }
