"""Deletes Jobs ``ttlSecondsAfterFinished`` after their end.

Source: ``pkg/controller/ttlafterfinished``.
"""

from datetime import datetime

from apimachinery.errors import Conflict, NotFound
from apimachinery.meta import Key, Object, get_condition, is_deleting, name_of, namespace_of, parse_time, uid_of
from apimachinery.scheme import JOBS
from master.controller_manager.frame import Context, ManagedController


def seconds_left(job: Object, now: datetime) -> float | None:
    """Until the Job is to be deleted; None if it never is, or has not ended."""
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or is_deleting(job):
        return None
    for type_ in ("Complete", "Failed"):
        condition = get_condition(job, type_)
        if condition is not None and condition.get("status") == "True":
            return float(ttl) - (now - parse_time(condition["lastTransitionTime"])).total_seconds()
    return None


class TtlAfterFinishedController(ManagedController):
    name = "ttl-after-finished-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._jobs = context.informers.informer(JOBS)
        self.enqueue_object(self._jobs)

    async def reconcile(self, key: Key) -> float | None:
        job = self._jobs.store.get(*key)
        left = seconds_left(job, self.clock.now()) if job is not None else None
        if job is None or left is None or left > 0:
            return left
        try:
            # As the server has it: the ttl may have been raised meanwhile.
            job = await self.client.get(JOBS, name_of(job), namespace_of(job))
            left = seconds_left(job, self.clock.now())
            if left is not None and left <= 0:
                await self.client.delete(
                    JOBS, name_of(job), namespace_of(job), uid=uid_of(job), propagation_policy="Foreground"
                )
        except (NotFound, Conflict):
            self.log.debug("Job changed or gone", job=key)
        return left if left is not None and left > 0 else None
