"""Jobs: run pods until enough have succeeded.

This file acts; ``job_tally`` counts, ``job_plan`` decides, ``job_policies`` and ``job_indexes`` know their parts.
Source: ``pkg/controller/job``.
"""

from collections.abc import Sequence

from apimachinery.client.api import Write
from apimachinery.errors import ApiError, NotFound
from apimachinery.meta import (
    Key,
    Object,
    controller_of,
    get_condition,
    is_deleting,
    key_of,
    name_of,
    namespace_of,
    uid_of,
)
from apimachinery.scheme import JOBS, PODS
from apimachinery.selectors import from_object
from master.controller_manager import job_plan as plans
from master.controller_manager import ownership
from master.controller_manager.expectations import Expectations
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.job_indexes import with_index
from master.controller_manager.job_tally import FINALIZER, Tally, has_finalizer, tally
from master.controller_manager.pod_control import PodControl, in_ending_namespace, pod_from_template
from master.controller_manager.status import write_status

_OURS = (None, "", "kubernetes.io/job-controller")


class JobController(ManagedController):
    name = "job-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._jobs = context.informers.informer(JOBS)
        self._pods = context.informers.informer(PODS)
        ownership.add_index(self._pods)
        self._jobs.add_index("namespace", lambda o: [namespace_of(o)])
        self._pod_writes: Expectations[Key] = Expectations(self._pods, self.queue, context.clock)
        self._job_writes: Expectations[Key] = Expectations(self._jobs, self.queue, context.clock)
        self._control = PodControl(self.client, self.events, self._pod_writes)
        self.enqueue_object(self._jobs)
        self.enqueue_by(self._pods, self._keys)

    def _keys(self, pod: Object) -> list[Key]:
        if controller_of(pod) is None and is_deleting(pod) and has_finalizer(pod):
            # An orphan that was counted by nobody: its Job is gone, and with it who would let it go.
            return [(namespace_of(pod), f"{_ORPHAN}{name_of(pod)}")]
        return ownership.concerned_keys(pod, JOBS, self._jobs)

    async def reconcile(self, key: Key) -> float | None:
        if key[1].startswith(_ORPHAN):
            pod = self._pods.store.get(key[0], key[1].removeprefix(_ORPHAN))
            await self._release([pod] if pod is not None else [])
            return None
        job = self._jobs.store.get(*key)
        if job is None:
            self._pod_writes.forget(key)
            self._job_writes.forget(key)
            await self._release_leftovers(key)
            return None
        if job["spec"].get("managedBy") not in _OURS or not self._job_writes.satisfied(key):
            return None
        settled = self._pod_writes.satisfied(key)
        selector = from_object(job["spec"].get("selector"))
        pods = await ownership.claim(self.client, job, JOBS, selector, self._pods)
        if plans.is_finished(job) or is_deleting(job):
            await self._release([p for p in pods if has_finalizer(p)])
            return None
        return await self._advance(job, pods, settled)

    async def _advance(self, job: Object, pods: Sequence[Object], settled: bool) -> float | None:
        now = self.clock.now()
        found = tally(job, pods)
        end = plans.verdict(job, found, now)
        step = plans.plan(job, found, pods, end, now) if settled else plans.Step()
        failure = await self._act(job, step, found)
        active = len(found.active) - len(step.delete) + (len(step.create) if failure is None else 0)
        status = plans.next_status(job, found, end, max(0, active), now)
        written = await write_status(self.client, JOBS, job, status)
        if written is not None:
            self._job_writes.wrote(key_of(job), written)
            self._tell(job, status, end)
        # Only now is it stored which pods are counted, so only now may they go.
        await self._release(found.to_release)
        if failure is not None and not in_ending_namespace(failure):
            raise failure
        # A deadline counts only while the end is open: one that has passed would be due again at once, for ever.
        waits = [step.wait, plans.seconds_to_deadline(job, now) if end is None else None]
        return min((max(0.0, w) for w in waits if w is not None), default=None)

    async def _act(self, job: Object, step: plans.Step, found: Tally) -> ApiError | None:
        failure = await self._control.delete(job, step.delete)
        if not step.create:
            return failure
        blank = pod_from_template(job["spec"]["template"], job, JOBS)
        blank["metadata"]["finalizers"] = [*(blank["metadata"].get("finalizers") or ()), FINALIZER]
        limited = job["spec"].get("backoffLimitPerIndex") is not None
        pods = [
            blank if i is None else with_index(blank, job, i, found.failures.get(i, 0) if limited else None)
            for i in step.create
        ]
        return await self._control.create(job, pods) or failure

    async def _release(self, pods: Sequence[Object]) -> None:
        """Remove our finalizer. A pod that is gone needs nothing; a conflict is tried again."""
        writes = []
        for pod in pods:
            rest = [f for f in pod["metadata"].get("finalizers") or () if f != FINALIZER]
            metadata = {"uid": uid_of(pod), "resourceVersion": pod["metadata"]["resourceVersion"]}
            patch = {"metadata": {**metadata, "finalizers": rest or None}}
            writes.append(Write.patch(PODS, name_of(pod), namespace_of(pod), patch))
        for result in await self.client.write(writes):
            if isinstance(result, ApiError) and not isinstance(result, NotFound):
                raise result

    async def _release_leftovers(self, key: Key) -> None:
        """The Job is gone: nobody will count its pods any more."""
        pods = [p for p in self._pods.store.list() if has_finalizer(p) and ownership.owner_keys(p, JOBS) == [key]]
        await self._release(pods)

    def _tell(self, job: Object, status: Object, end: plans.Verdict | None) -> None:
        """Events for conditions that have just become true."""
        after = {"status": status}
        for type_, kind, reason, message in (
            ("Complete", "Normal", "Completed", "Job completed"),
            ("Failed", "Warning", end.reason if end else "", end.message if end else ""),
            ("Suspended", "Normal", "Suspended", "Job suspended"),
        ):
            new, old = get_condition(after, type_), get_condition(job, type_)
            if (new or {}).get("status") == "True" and (old or {}).get("status") != "True":
                self.events.event(job, kind, reason, message)
        was, now = get_condition(job, "Suspended"), get_condition(after, "Suspended")
        if (was or {}).get("status") == "True" and (now or {}).get("status") == "False":
            self.events.event(job, "Normal", "Resumed", "Job resumed")


_ORPHAN = "orphan pod/"
"""Marks a key that is a pod's: "/" cannot be in a Job's name."""
