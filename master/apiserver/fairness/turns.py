"""Turns on the event loop: while it is busy, each step of a request waits until its flow is the one served least.

A step is the code between two awaits. As long as the loop keeps up nobody waits; once steps have taken ``SLICE``
seconds, those that come next are put in order: start-time fair queueing by flow, a slice's worth in each pass of the
loop, so that sockets are looked at in between. A step brings more work than its own (its TLS, its call to etcd), so
what a pass really takes is measured, and shared out over its steps. A step cannot be interrupted: one that takes long
is paid for later.
"""

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")

SLICE = 0.004
"""Seconds of steps before others are let in: some forty small requests, or one large list."""
_SMOOTHING = 0.125


class Flow:
    """Requests that share one share: a priority level and what distinguishes them there, such as a user.

    ``virtual`` is the time of the loop that it has had, ``step`` the seconds that its steps take on average.
    Invariant: it is in the heap of ``Turns`` exactly while it has somebody ``waiting``. Most never have.
    """

    __slots__ = ("step", "virtual", "waiting")

    def __init__(self) -> None:
        self.virtual = self.step = 0.0
        self.waiting: deque[asyncio.Future[None]] | None = None


class Pass:
    """One request's right of way. ``free``: from now on it takes no turns, as a watch that has begun to stream."""

    __slots__ = ("flow", "free")

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.free = False


class Turns:
    """The turns of one event loop."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._spent = self._now = self._ticked = self._besides = 0.0
        self._released = 0
        self._busy = False
        self._heap: list[tuple[float, int, Flow]] = []
        self._order = itertools.count()

    @coroutine
    def take(self, held: Pass, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Await ``work``, each of its steps in turn."""
        flow, clock = held.flow, self._clock
        waited: Any = None
        thrown: BaseException | None = None
        while thrown is not None or not held.free:
            guess = 0.0
            if self._busy and thrown is None:
                try:
                    guess = yield from self._wait(flow)
                except BaseException as error:  # a cancellation: it is the work's to handle
                    thrown = error
            began = clock()
            try:
                waited = work.send(None) if thrown is None else work.throw(thrown)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            finally:
                thrown = None
                seconds = clock() - began
                flow.step += (seconds - flow.step) * _SMOOTHING
                self._spent += seconds
                if guess:
                    flow.virtual += seconds - guess
                elif self._spent > SLICE and not self._busy:
                    self._crowded()
            try:
                yield waited
            except BaseException as error:  # likewise
                thrown = error
            finally:
                waited = None  # a task that failed leads back here: a circle, with the whole connection in it
        return (yield from work)  # type: ignore[no-any-return]

    def _crowded(self) -> None:
        self._busy, self._released, self._ticked = True, 0, self._clock()
        asyncio.get_running_loop().call_soon(self._tick)

    def _wait(self, flow: Flow) -> Generator[Any, Any, float]:
        """Until it is the flow's turn; what was charged for it in advance."""
        turn = asyncio.get_running_loop().create_future()
        if flow.waiting is None:
            flow.waiting = deque()
            flow.virtual = max(flow.virtual, min(self._now, self._heap[0][0]) if self._heap else self._now)
            heapq.heappush(self._heap, (flow.virtual, next(self._order), flow))
        flow.waiting.append(turn)
        yield from turn
        return flow.step or 1e-9

    def _tick(self) -> None:
        """Let the fairest go: as many as a slice holds by what their steps usually take."""
        now = self._clock()
        if self._released:
            besides = max(0.0, now - self._ticked - self._spent) / self._released
            self._besides += (besides - self._besides) * _SMOOTHING
        self._spent, budget, self._ticked, self._released = 0.0, 0.0, now, 0
        while self._heap and budget <= SLICE:
            _, _, flow = heapq.heappop(self._heap)
            waiting = flow.waiting or deque()
            turn = waiting.popleft()
            if not turn.done():  # else its request was cancelled
                turn.set_result(None)
                self._now = max(self._now, flow.virtual)
                flow.virtual += flow.step
                budget += flow.step + self._besides
                self._released += 1
            if not waiting:
                flow.waiting = None
            else:
                heapq.heappush(self._heap, (flow.virtual, next(self._order), flow))
        self._busy = bool(self._heap or self._released)
        if self._busy:
            asyncio.get_running_loop().call_soon(self._tick)
