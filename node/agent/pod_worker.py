"""One worker a pod: it looks, plans, acts and reports, one step at a time; what came last wins.

Guarantees: never two steps of one pod at once; a deletion interrupts whatever a step was waiting for, but never a call
that makes something in the runtime; a shorter grace period interrupts a longer one; the final state is reported before
the API object is deleted; nothing of the pod is left in the runtime after that. Everything is decided by
``pod_actions`` and ``status`` from what is there now, so a worker of a restarted agent goes on where the old one was.
An idle worker has no task, only state.
"""

import time
from collections.abc import Callable
from typing import Final

from apimachinery.logging import get_logger
from node.agent import pod_actions
from node.agent.conditions import Condition
from node.agent.cri_configs import grace_period, hashes
from node.agent.node_services import NodeServices
from node.agent.observe import PodObserver
from node.agent.pod_starter import PodStarter
from node.agent.pod_state import Object, PodRuntime, Waiting, pod_key, uid_of
from node.agent.pod_stopper import PodStopper
from node.agent.probe_manager import PodProbes
from node.agent.resize import Resizer
from node.agent.restart_backoff import RestartBackoff
from node.agent.status import StatusInputs, Verdict, make_status
from node.agent.step_loop import StepLoop
from node.agent.times import parse_rfc3339
from node.agent.volumes.volume import VolumeError

_log = get_logger(__name__)
_FINISHED: Final = ("Succeeded", "Failed")
_VOLUME_RETRY_SECONDS: Final = 10.0
_MAX_ROUNDS: Final = 50  # of plan and act in one step; a plan that never comes to rest must not spin


class PodWorker:
    """The worker of one pod. ``update``, ``remove`` and ``wake`` never block."""

    def __init__(self, services: NodeServices, pod: Object, others: Callable[[str], list[Object]]) -> None:
        self.pod = pod
        self.uid = uid_of(pod)
        self.verdict: Verdict | None = None
        self._services = services
        self._observer = PodObserver(services.runtime, self.uid)
        self.probes = PodProbes(services.prober, services.recorder, self.wake)
        self._backoff = RestartBackoff()
        self._resizer = Resizer(services, pod, lambda: others(self.uid))
        self._starter = PodStarter(services, self._backoff, self._resizer)
        self._stopper = PodStopper(services)
        self._waiting: dict[str, Waiting] = {}
        self._status: Object = pod.get("status") or {}
        self._was_finished = self._status.get("phase") in _FINISHED
        told = self._status.get("startTime")
        self._start_time = parse_rfc3339(told) if told else time.time()
        self._failed_init = ""
        self.stopped = self._removed = False  # nothing of the pod runs any more; the API object is gone
        self._stopping_with: int | None = None  # the grace period of the stop under way
        step = services.metrics.step(self._sync, lambda: "terminate" if self.ending else "sync")
        self._loop = StepLoop(f"pod-{pod_key(pod)}", step)

    # -- what happens to the pod

    def update(self, pod: Object) -> None:
        """The API object has changed; or a static pod has got another mirror, which has to be told all."""
        if pod["metadata"]["uid"] != self.pod["metadata"]["uid"]:
            self._services.writer.forget(self.uid)
            self._services.writer.put(pod, self._status)
        self.pod = pod
        self.reconcile()
        self._interrupt_if_needed()
        self.wake()

    def reconcile(self) -> None:
        """Insist on the reported status, unless the node itself is in trouble: then others' doubts are right."""
        if self._services.facts.network_ready:
            self._services.writer.reconcile(self.pod)

    def remove(self) -> None:
        """The API object is gone: stop what runs, report nothing."""
        self._removed = True
        self._interrupt_if_needed()
        self.wake()

    def end(self, verdict: Verdict) -> None:
        """The node cannot take the pod, or keep it."""
        self.verdict = verdict
        self._interrupt_if_needed()
        self.wake()

    def wake(self) -> None:
        """Something may have changed: look again."""
        self._loop.wake()

    async def close(self) -> None:
        """The agent ends; the pod's containers go on."""
        self.probes.stop()
        await self._loop.close()

    @property
    def ending(self) -> bool:
        """Whether the pod has to stop: deleted, gone, or its time is over."""
        return self._removed or bool(self.pod["metadata"].get("deletionTimestamp")) or self.verdict is not None

    @property
    def active(self) -> bool:
        """Whether the pod counts against the node's resources."""
        finished = self.stopped or self._was_finished or self._status.get("phase") in _FINISHED
        return not finished and self.verdict is None

    @property
    def admitted(self) -> Object:
        """The pod with the resources that it holds of the node."""
        return self._resizer.effective(self.pod)

    def room_was_made(self) -> None:
        """Another pod has gone: a resize that waits for room may fit now."""
        if self._resizer.deferred:
            self.wake()

    def _interrupt_if_needed(self) -> None:
        sooner = self._stopping_with is None or self._grace() < self._stopping_with
        if self._loop.stepping and self.ending and sooner:
            self._loop.interrupt()

    def _grace(self) -> int:
        given = self.verdict.grace if self.verdict else None
        return grace_period(self.pod) if given is None else given

    # -- one step

    async def _sync(self) -> float | None:
        """Look, decide, act, report. Returns seconds after which to look again, None = when something changes."""
        runtime = await self._observer.observe()
        self._check_deadline()
        if self.ending:
            await self._end(runtime)
            return None
        if self._was_finished or pod_actions.finished(self.pod, runtime, self._failed_init):
            await self._rest(runtime)
            return None
        return await self._keep_running(runtime)

    async def _keep_running(self, runtime: PodRuntime) -> float | None:
        self._services.track(self.pod)
        self._resizer.admit(self.pod)
        self._report(runtime)
        for _ in range(_MAX_ROUNDS):
            inputs = self._inputs(runtime, await self._resizer.apply(self.pod, runtime))
            plan = pod_actions.plan(inputs)
            self._failed_init = plan.failed_init
            self._starter.tell_of_back_off(self.pod, plan, self._waiting)
            self._waiting = plan.waiting
            if not plan.acts:
                break
            outcome = await self._starter.carry_out(inputs.pod, plan, runtime, inputs)
            self._waiting |= outcome.waiting
            runtime = await self._observer.observe()
            self._report(runtime)
            if outcome.retry_at is not None:
                plan.wake(outcome.retry_at)
            if not outcome.go_on:
                break
        self._report(runtime)
        await self._prune(runtime)
        if pod_actions.finished(self.pod, runtime, self._failed_init):
            await self._rest(runtime)
        return self._next_look(plan.wake_at, await self._refresh_volumes(runtime))

    async def _prune(self, runtime: PodRuntime) -> None:
        """Remove what earlier attempts left and nothing shows any more."""
        dead = pod_actions.dead_to_remove(runtime)
        for container in dead:
            await self._services.remove_container(container)
        for sandbox in pod_actions.sandboxes_to_remove(runtime, dead):
            await self._services.runtime.remove_pod_sandbox(sandbox.id)

    async def remove_dead(self) -> None:
        """For want of disk: what an ended pod's containers wrote, and their logs."""
        if self.stopped:
            for container in (await self._observer.observe()).containers:
                await self._services.remove_container(container)

    def _inputs(self, runtime: PodRuntime, resized: frozenset[str]) -> pod_actions.Inputs:
        pod, results = self.admitted, self.probes.sync(self.pod, runtime)
        return pod_actions.Inputs(pod, runtime, results, self._backoff, hashes(pod), time.time(), resized)

    async def _refresh_volumes(self, runtime: PodRuntime) -> float | None:
        """Bring mounted contents up to date; when to do it again."""
        if not runtime.running:
            return None
        try:
            await self._services.preparer.volumes(self.pod, runtime)
        except VolumeError as error:
            _log.info("Volumes not refreshed", pod=pod_key(self.pod), error=str(error))
            return time.time() + _VOLUME_RETRY_SECONDS
        return self._services.preparer.again_at(self.uid)

    def _next_look(self, *moments: float | None) -> float | None:
        known = [m for m in (*moments, self._deadline()) if m is not None]
        return min(known) - time.time() if known else None

    # -- the end

    def _deadline(self) -> float | None:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        return None if seconds is None else self._start_time + int(seconds)

    def _check_deadline(self) -> None:
        deadline = self._deadline()
        if deadline is None or deadline > time.time() or self.ending or self._was_finished:
            return
        message = "Pod was active on the node longer than the specified deadline"
        self.verdict = Verdict("Failed", "DeadlineExceeded", message)
        self._services.event(self.pod, "Normal", "DeadlineExceeded", message)

    async def _rest(self, runtime: PodRuntime) -> None:
        """The pod has run to its end: only its dead containers stay, for their logs."""
        self.probes.sync(self.pod, runtime, ending=True)
        await self._stopper.stop(self.pod, runtime, self._grace())
        runtime = await self._observer.observe()
        self.probes.stop()
        self._waiting = {}
        if not self._was_finished:
            self._report(runtime, ending=True)
        self._was_finished = self.stopped = True
        self._services.untrack(self.uid)
        await self._services.preparer.release(self.uid)

    async def _end(self, runtime: PodRuntime) -> None:
        """Stop everything; when the API object is deleted, report and let it go; then leave nothing behind."""
        self._stopping_with = self._grace()
        self.probes.sync(self.pod, runtime, ending=True)
        if not self._removed and runtime.running and not self.verdict:
            self._report(runtime)
        await self._stopper.stop(self.pod, runtime, self._stopping_with)
        self.probes.stop()
        runtime = await self._observer.observe()
        self._waiting = {}
        if self.pod["metadata"].get("deletionTimestamp") and not self._removed:
            try:
                await self._services.preparer.release(self.uid)  # who sees no pod may use or delete its volumes
            except VolumeError:
                self._report(runtime, ending=True)  # at least it is told how the containers ended
                raise
            self.stopped = True  # first: whoever sees the object gone may at once bind another pod in its place
            finished = self._was_finished and not self.verdict  # what it said then stays as it was
            status = self._status if finished else self._make_status(runtime, ending=True)
            await self._services.writer.finish(self.pod, status)
            self._removed = True
        elif not self._removed:
            self._report(runtime, ending=True)
            self._stopping_with, self.stopped = None, True
            await self._services.preparer.release(self.uid)
            return
        await self._clean(runtime)

    async def _clean(self, runtime: PodRuntime) -> None:
        for sandbox in runtime.sandboxes:
            await self._services.runtime.remove_pod_sandbox(sandbox.id)
        for container in runtime.containers:
            await self._services.runtime.remove_container(container.id)
        await self._services.preparer.remove(self.uid)
        self._services.forget(self.pod)
        self._loop.finish()

    # -- the report

    def _make_status(self, runtime: PodRuntime, ending: bool = False) -> Object:
        facts = self._services.facts
        return make_status(
            StatusInputs(
                pod=self.pod,
                runtime=runtime,
                probes=self.probes.sync(self.pod, runtime, ending=self.ending or ending),
                waiting=self._waiting,
                now=time.time(),
                start_time=self._start_time,
                host_ips=facts.host_ips,
                previous=self._status,
                runtime_type=facts.runtime_name,
                verdict=self.verdict,
                failed_init=self._failed_init,
                terminating=ending,
                resources=self._resizer.statuses(),
                more_conditions=self._more_conditions(),
            )
        )

    def _more_conditions(self) -> list[Condition]:
        if self.verdict is None:
            return self._resizer.conditions(self.pod)
        disrupted = self.verdict.disruption
        return [Condition("DisruptionTarget", disrupted, self.verdict.message)] if disrupted else []

    def _report(self, runtime: PodRuntime, ending: bool = False) -> None:
        if (status := self._make_status(runtime, ending)) != self._status:
            self._services.metrics.status_changed(self._status, status, self._start_time)
            self._status = status
            self._services.writer.put(self.pod, status)
