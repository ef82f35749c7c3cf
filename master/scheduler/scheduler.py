"""The scheduling loop: takes pods from the queue, decides, and writes the outcome, many at a time.

Decisions are made one after the other in the event loop, so each sees all before it; what was decided is assumed in
the snapshot at once, and the bindings travel in batches while the next decisions are made. A binding that fails is
forgotten and its pod tried again. Safe to kill at any moment: all that counts is in the API server.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from apimachinery.client.api import ApiClient, Write
from apimachinery.client.events import EventRecorder
from apimachinery.client.informer import InformerFactory
from apimachinery.clock import Clock, SystemClock
from apimachinery.errors import ApiError, NotFound
from apimachinery.logging import get_logger
from apimachinery.scheme import Kind
from master.scheduler.engine import Decision, Engine, Nomination
from master.scheduler.feed import Feed
from master.scheduler.framework import Event, Profile, Rescue, Scope
from master.scheduler.outcome import condition_writes, has_condition, preemption_writes, unnominate_writes
from master.scheduler.plugins.default_binder import bind
from master.scheduler.plugins.default_preemption import post_filter
from master.scheduler.plugins.volume_binding import assume
from master.scheduler.queue import QueuedPod, SchedulingQueue
from master.scheduler.shape import Key, PodShape
from master.scheduler.snapshot import Snapshot

_log = get_logger(__name__)
Object = dict[str, Any]

_BATCH = 256
_SLICE_SECONDS = 0.02  # the longest that decisions keep the event loop
_BATCHES_IN_FLIGHT = 4


class Scheduler:
    """One term of leadership: ``run`` it until cancelled. ``name`` is the ``schedulerName`` that it serves."""

    def __init__(
        self,
        client: ApiClient,
        informers: InformerFactory,
        profile: Profile,
        *,
        name: str = "default-scheduler",
        clock: Clock | None = None,
    ) -> None:
        self._client, self._profile, self._name = client, profile, name
        self._clock = clock or SystemClock()
        self._work = asyncio.Event()
        self.events = EventRecorder(client, name, clock=self._clock)
        self.engine = Engine(Snapshot(), profile)
        self.queue = SchedulingQueue(self._clock.monotonic)
        self.feed = Feed(informers, self.engine, self.queue, name, self._work.set)
        self._room = asyncio.Semaphore(_BATCHES_IN_FLIGHT)
        self._writing: set[asyncio.Task[object]] = set()
        self._refusals: dict[PodShape, tuple[int, Decision, Rescue]] = {}
        self.bound = 0

    async def run(self) -> None:
        """Schedule until cancelled. The informers must be synced."""
        try:
            while True:
                if not await self._round():
                    await self._wait_for_work()
                await asyncio.sleep(0)  # let informers and answers in
        finally:
            for task in self._writing:
                task.cancel()
            await self.events.close()

    async def _wait_for_work(self) -> None:
        try:
            async with asyncio.timeout(self.queue.seconds_to_next()):
                await self._work.wait()
        except TimeoutError:
            return
        self._work.clear()

    async def _round(self) -> bool:
        """Decide on some pods and send what came of it. False if there was nothing to do."""
        await self._room.acquire()
        self._wake_waiting()
        bound: list[tuple[QueuedPod, str]] = []
        refused: list[tuple[QueuedPod, Decision, Rescue]] = []
        until = self._clock.monotonic() + _SLICE_SECONDS
        while len(bound) + len(refused) < _BATCH and self._clock.monotonic() < until and (pods := self.queue.pop(16)):
            for pod in pods:
                self._try_one(pod, bound, refused)
        if not bound and not refused:
            self._room.release()
            return False
        self._start(self._write(bound, refused))
        return True

    def _try_one(
        self, pod: QueuedPod, bound: list[tuple[QueuedPod, str]], refused: list[tuple[QueuedPod, Decision, Rescue]]
    ) -> None:
        try:
            self._schedule_one(pod, bound, refused)
        except Exception:  # the boundary: a pod that breaks a plugin must not keep the others waiting
            _log.exception("Scheduling failed", pod=pod.key)
            self.queue.error(pod)

    def _schedule_one(
        self, pod: QueuedPod, bound: list[tuple[QueuedPod, str]], refused: list[tuple[QueuedPod, Decision, Rescue]]
    ) -> None:
        decision, rescue = self._decide(pod)
        if decision.node and self._must_wait(pod, decision.node):
            return
        problem = self._reserve_and_permit(pod, decision.node) if decision.node else ""
        if decision.node and not problem:
            self.feed.drop_nomination(pod.key)
            self.engine.snapshot.place(pod.key, pod.shape, decision.node)
            bound.append((pod, decision.node))
            return
        if problem:
            decision = Decision(message=problem)
        refused.append((pod, decision, rescue))
        if rescue.node:
            self._nominate(pod, rescue)
        elif not rescue.keep:
            self.feed.drop_nomination(pod.key)
        self.queue.refused(pod, decision.plugins, self._profile.wakes_of(decision.plugins))

    def _decide(self, pod: QueuedPod) -> tuple[Decision, Rescue]:
        """A node; or why there is none, and how room could be made.

        Pods of one shape share a refusal that nothing can be done about, as long as nothing has changed.
        """
        snap, known = self.engine.snapshot, self._refusals.get(pod.shape)
        if known and known[0] == snap.clock and not self.engine.nominations:
            return known[1], known[2]
        decision = self.engine.decide(pod.key, pod.shape)
        if decision.node or not decision.plugins:
            return decision, Rescue()
        rescue = post_filter(self.engine, pod.key, pod.shape)
        if not rescue.node:
            if len(self._refusals) > _BATCH:
                self._refusals.clear()
            self._refusals[pod.shape] = (snap.clock, decision, rescue)
        return decision, rescue

    def _reserve_and_permit(self, pod: QueuedPod, node: str) -> str:
        """Reserve and Permit: why the node will not do after all, or ""."""
        for done, reserving in enumerate(self._profile.reserves):
            problem = reserving.reserve(pod.key, pod.shape, node)
            if problem:
                for undo in self._profile.reserves[:done]:
                    undo.unreserve(pod.key, pod.shape, node)
                return problem
        return next((p for permit in self._profile.permits if (p := permit.permit(pod.key, pod.shape, node))), "")

    def _must_wait(self, pod: QueuedPod, node: str) -> bool:
        """PreBind: whether something has to come true first. The pod keeps its place on the node meanwhile."""
        for plugin in self._profile.pre_binds:
            wanted = plugin.prepare(pod.shape, self.engine.snapshot, node)
            if wanted is not None:
                self.engine.nominations[pod.key] = Nomination(node, pod.shape)
                for kind, obj in wanted:
                    assume(self.engine.snapshot, kind, obj)
                if wanted:
                    self._start(self._write_storage(wanted), counted=False)
                self.queue.refused(pod, frozenset({plugin.name}), plugin.wakes)
                return True
        return False

    async def _write_storage(self, wanted: list[tuple[Kind, Object]]) -> None:
        """What could not be written is forgotten, and the pods that wait for it are tried again."""
        if await self._send([Write.update(kind, obj) for kind, obj in wanted]):
            return
        for kind, obj in wanted:
            self.feed.reread(kind, obj)

    def _nominate(self, pod: QueuedPod, rescue: Rescue) -> None:
        """Keep the node that is being cleared; less important pods lose their claim to it."""
        lower = [
            key
            for key, n in self.engine.nominations.items()
            if n.node == rescue.node and n.shape.priority < pod.shape.priority
        ]
        for key in lower:
            self.feed.drop_nomination(key)
        self.engine.nominations[pod.key] = Nomination(rescue.node, pod.shape)
        if lower:
            self._start(self._send(unnominate_writes(lower)), counted=False)

    # --- waking

    def _wake_waiting(self) -> None:
        """Move on the waiting pods that the events since the last round could help.

        Plugins that look at one node only are asked exactly, on the nodes that changed; after what affects whole
        domains the pods are simply tried again.
        """
        events, rows = self.feed.take_events()
        if not events:
            return
        by_shape: dict[PodShape, list[QueuedPod]] = {}
        for pod in self.queue.waiting_for(events):
            by_shape.setdefault(pod.shape, []).append(pod)
        for shape, pods in by_shape.items():
            if self._could_help(shape, pods[0].refused_by, events, rows):
                self.queue.wake(pods)

    def _could_help(
        self, shape: PodShape, refused_by: frozenset[str], events: frozenset[Event], rows: set[int]
    ) -> bool:
        refusing = [p for p in self._profile.filters if p.name in refused_by]
        if Event.CLAIM_CHANGED in events or any(p.scope is Scope.CLUSTER and p.wakes & events for p in refusing):
            return True
        return bool(rows) and self.engine.fits_somewhere(shape, rows)

    # --- writing

    def _start(self, work: Coroutine[Any, Any, object], *, counted: bool = True) -> None:
        task = asyncio.get_running_loop().create_task(work, name="scheduler-write")
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        if counted:
            task.add_done_callback(lambda _: self._room.release())

    async def _write(
        self, bound: list[tuple[QueuedPod, str]], refused: list[tuple[QueuedPod, Decision, Rescue]]
    ) -> None:
        if bound:
            await self._bind(bound)
        for pod, decision, rescue in refused:
            await self._report(pod, decision, rescue)

    async def _bind(self, bound: list[tuple[QueuedPod, str]]) -> None:
        errors: list[ApiError | None]
        try:
            errors = await bind(self._client, [(pod.key, pod.uid, node) for pod, node in bound])
        except ApiError as error:
            errors = [error] * len(bound)
        for (pod, node), problem in zip(bound, errors, strict=True):
            if problem is None:
                self.bound += 1
                self._announce(pod.key, node)
            else:
                self._take_back(pod, node, problem)
        self._work.set()

    def _announce(self, key: Key, node: str) -> None:
        pod = self.feed.pods.store.get(*key)
        if pod is not None:
            message = f"Successfully assigned {key[0]}/{key[1]} to {node}"
            self.events.event(pod, "Normal", "Scheduled", message)

    def _take_back(self, pod: QueuedPod, node: str, problem: ApiError) -> None:
        _log.warning("Binding failed", pod=pod.key, node=node, error=problem.message)
        placement = self.engine.snapshot.placements.get(pod.key)
        if placement is not None and placement.pod is None:
            self.feed.forget(pod.key)
        for reserving in self._profile.reserves:
            reserving.unreserve(pod.key, pod.shape, node)
        if isinstance(problem, NotFound) and self.feed.pods.store.get(*pod.key) is None:
            self.queue.remove(pod.key)
        else:
            self.queue.error(pod)

    async def _report(self, pod: QueuedPod, decision: Decision, rescue: Rescue) -> None:
        """Tell why a pod waits, in its condition and an event, if that is news; and make room for it."""
        obj = self.feed.pods.store.get(*pod.key)
        if obj is None:
            return
        message = " ".join(part for part in (decision.message, rescue.message) if part)
        if rescue.victims:
            await self._preempt(obj, rescue)
        nomination = self.engine.nominations.get(pod.key)
        nominated = nomination.node if nomination else ""
        if has_condition(obj, message, nominated):
            return
        self.events.event(obj, "Warning", "FailedScheduling", message)
        await self._send(condition_writes(obj, message, nominated, self._clock.now()))

    async def _preempt(self, preemptor: Object, rescue: Rescue) -> None:
        found = [self.feed.pods.store.get(*key) for key in rescue.victims]
        victims = [v for v in found if v is not None and not v["metadata"].get("deletionTimestamp")]
        await self._send(preemption_writes(preemptor, victims, self._name, self._clock.now()))
        uid = preemptor["metadata"]["uid"]
        for victim in victims:
            self.events.event(victim, "Normal", "Preempted", f"Preempted by pod {uid} on node {rescue.node}")

    async def _send(self, writes: list[Write]) -> bool:
        """Whether all were taken. What is gone meanwhile needs no word."""
        results: Sequence[Object | ApiError]
        try:
            results = await self._client.write(writes)
        except ApiError as error:
            results = [error]
        for result in results:
            if isinstance(result, ApiError) and not isinstance(result, NotFound):
                _log.warning("Write refused", error=result.message)
        return not any(isinstance(result, ApiError) for result in results)
