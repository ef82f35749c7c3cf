"""The queue of pods that wait for a node.

* active: ready to be tried, by priority and age;
* backing off: tried in vain or failed, waiting 1 s, 2 s, 4 s, at most 10 s since the last try;
* unschedulable: no node took them; an event that a refusing plugin waits for (``Event``), or five minutes, moves
  them on;
* gated: has scheduling gates, and is not tried at all.

A pod is in exactly one of these, or taken (between ``pop`` and its outcome). As upstream does since v1.33, an idle
scheduler also takes pods that only back off because no node took them. Time is injected.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from master.scheduler.framework import Event
from master.scheduler.plugins.priority_sort import order
from master.scheduler.shape import Key, PodShape

INITIAL_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 10.0
UNSCHEDULABLE_SECONDS = 300.0


@dataclass(slots=True, eq=False)
class QueuedPod:
    """``since``/``tried`` are monotonic seconds. ``refused_by`` names plugins; ``failed``: an error, not a refusal.

    ``place`` is where the queue holds the pod; heap entries of another place or ``ticket`` are stale.
    """

    key: Key
    uid: str
    shape: PodShape
    since: float
    tried: float = 0.0
    attempts: int = 0
    refused_by: frozenset[str] = frozenset()
    wakes: frozenset[Event] = frozenset()
    failed: bool = False
    place: str = ""
    ticket: int = 0


@dataclass(slots=True)
class _Heap:
    """Entries are (order..., ticket, pod); a stale entry is skipped when it comes up."""

    name: str
    entries: list[tuple[object, int, QueuedPod]] = field(default_factory=list)

    def push(self, rank: object, pod: QueuedPod) -> None:
        heapq.heappush(self.entries, (rank, pod.ticket, pod))

    def peek(self) -> tuple[object, QueuedPod] | None:
        while self.entries:
            rank, ticket, pod = self.entries[0]
            if pod.place == self.name and pod.ticket == ticket:
                return rank, pod
            heapq.heappop(self.entries)
        return None


class SchedulingQueue:
    """See the module. ``now`` is a monotonic clock in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._pods: dict[Key, QueuedPod] = {}
        self._unschedulable: dict[Key, QueuedPod] = {}
        self._active, self._backing_off = _Heap("active"), _Heap("backoff")
        self._tickets = 0

    def __len__(self) -> int:
        return len(self._pods)

    def get(self, key: Key) -> QueuedPod | None:
        return self._pods.get(key)

    def add(self, key: Key, uid: str, shape: PodShape) -> None:
        """A pod has come or changed. A changed one gets a new chance at once, unless an error made it wait."""
        pod = self._pods.get(key)
        if pod is None or pod.uid != uid:
            pod = self._pods[key] = QueuedPod(key, uid, shape, self._now())
        elif pod.shape is shape:
            return
        pod.shape = shape
        if shape.gates:
            self._put(pod, "gated")
        elif pod.place not in ("active", "taken"):
            self._wake(pod)

    def remove(self, key: Key) -> None:
        """The pod is gone or bound."""
        pod = self._pods.pop(key, None)
        self._unschedulable.pop(key, None)
        if pod:
            pod.place = "gone"

    def pop(self, limit: int) -> list[QueuedPod]:
        """Take up to ``limit`` pods to try now, most urgent first."""
        self._end_waits()
        out: list[QueuedPod] = []
        while len(out) < limit and (first := self._active.peek()):
            out.append(self._take(first[1]))
        while len(out) < limit and not out and (waiting := self._backing_off.peek()) and not waiting[1].failed:
            out.append(self._take(waiting[1]))
        return out

    def refused(self, pod: QueuedPod, by: frozenset[str], wakes: frozenset[Event]) -> None:
        """No node took the pod: it waits for one of ``wakes``."""
        pod.refused_by, pod.wakes, pod.failed = by, wakes, False
        if self._pods.get(pod.key) is pod:
            self._put(pod, "unschedulable")

    def error(self, pod: QueuedPod) -> None:
        """Something broke on the way: try again after the back-off."""
        pod.failed = True
        if self._pods.get(pod.key) is pod:
            self._wake(pod)

    def waiting_for(self, events: frozenset[Event]) -> list[QueuedPod]:
        """Unschedulable pods that one of ``events`` may help."""
        return [p for p in self._unschedulable.values() if p.wakes & events]

    def wake(self, pods: Iterable[QueuedPod]) -> None:
        for pod in pods:
            if pod.place == "unschedulable":
                self._wake(pod)

    def gated(self) -> list[QueuedPod]:
        return [p for p in self._pods.values() if p.place == "gated"]

    def seconds_to_next(self) -> float | None:
        """How long until a pod could be taken without any event; None if none ever can."""
        if self._active.peek():
            return 0.0
        waits = [pod.tried + UNSCHEDULABLE_SECONDS for pod in self._unschedulable.values()]
        first = self._backing_off.peek()
        if first:
            waits.append(self._ready_at(first[1]) if first[1].failed else 0.0)
        return max(0.0, min(waits) - self._now()) if waits else None

    def _ready_at(self, pod: QueuedPod) -> float:
        if not pod.attempts:
            return 0.0
        backoff: float = INITIAL_BACKOFF_SECONDS * 2 ** min(pod.attempts - 1, 10)
        return pod.tried + min(backoff, MAX_BACKOFF_SECONDS)

    def _wake(self, pod: QueuedPod) -> None:
        ready = self._ready_at(pod)
        self._put(pod, "active" if ready <= self._now() else "backoff")

    def _put(self, pod: QueuedPod, place: str) -> None:
        self._tickets += 1
        self._unschedulable.pop(pod.key, None)
        pod.place, pod.ticket = place, self._tickets
        if place == "active":
            self._active.push(order(pod.shape, pod.since), pod)
        elif place == "backoff":
            self._backing_off.push(self._ready_at(pod), pod)
        elif place == "unschedulable":
            self._unschedulable[pod.key] = pod

    def _take(self, pod: QueuedPod) -> QueuedPod:
        pod.place, pod.tried = "taken", self._now()
        pod.attempts += 1
        return pod

    def _end_waits(self) -> None:
        now = self._now()
        while (first := self._backing_off.peek()) and self._ready_at(first[1]) <= now:
            self._put(first[1], "active")
        for pod in list(self._unschedulable.values()):
            if pod.tried + UNSCHEDULABLE_SECONDS <= now:
                self._wake(pod)
