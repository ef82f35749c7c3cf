"""A queue of keys to work on, with the semantics of client-go's.

- A key that is added several times before it is taken is handed out once.
- A key is never handed to two workers at a time; one that is added while it is worked on is queued again
  when its worker calls ``done``.
- ``add_after`` keeps the earliest of several times. ``add_rate_limited`` delays by the key's number of
  failures until ``forget``.

Source: ``client-go/util/workqueue``.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from apimachinery.clock import Clock, SystemClock, Timer

K = TypeVar("K", bound=Hashable)


class ShutDown(Exception):
    """The queue is shut down and empty."""


class WorkQueue(Generic[K]):
    """Delays in seconds: a key that failed n times waits ``base_delay * 2**n``, at most ``max_delay``."""

    def __init__(self, *, clock: Clock | None = None, base_delay: float = 0.005, max_delay: float = 60.0) -> None:
        self._clock: Clock = clock or SystemClock()
        self._base_delay, self._max_delay = base_delay, max_delay
        # Invariants: _queue holds each key once; every key in _queue is in _dirty and not in _processing.
        self._queue: deque[K] = deque()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._failures: dict[K, int] = {}
        self._waiting: list[tuple[float, int, K]] = []  # heap; an entry counts only if it is _ready_at's
        self._ready_at: dict[K, float] = {}
        self._order = itertools.count()
        self._timer: Timer | None = None
        self._getters: deque[asyncio.Future[None]] = deque()
        self._shut_down = False

    def __len__(self) -> int:
        """Keys that are ready and not taken."""
        return len(self._queue)

    def add(self, key: K) -> None:
        if self._shut_down or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._queue.append(key)
            self._wake()

    def add_after(self, key: K, seconds: float) -> None:
        """``add`` it after that time; an earlier time that is set already stands."""
        if self._shut_down:
            return
        if seconds <= 0:
            self.add(key)
            return
        when = self._clock.monotonic() + seconds
        if when < self._ready_at.get(key, float("inf")):
            self._ready_at[key] = when
            heapq.heappush(self._waiting, (when, next(self._order), key))
            self._set_timer()

    def add_rate_limited(self, key: K) -> None:
        """``add`` it after a delay that doubles with each call until ``forget``."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, min(self._max_delay, self._base_delay * 2.0 ** min(failures, 60)))

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure starts from the shortest delay."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key, now processing: call ``done`` with it. Raises ShutDown."""
        while not self._queue:
            if self._shut_down:
                raise ShutDown
            getter = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                # A getter woken and cancelled at once must pass the wake-up on.
                if getter.done() and not getter.cancelled():
                    self._wake()
                raise
        key = self._queue.popleft()
        self._processing.add(key)
        self._dirty.discard(key)
        return key

    def done(self, key: K) -> None:
        self._processing.discard(key)
        if key in self._dirty:
            self._queue.append(key)
            self._wake()

    def shut_down(self) -> None:
        """Take no more keys; ``get`` hands out what is ready and then raises ShutDown."""
        self._shut_down = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._getters:
            self._wake()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._ready_at.get(self._waiting[0][2]) != self._waiting[0][0]:
            heapq.heappop(self._waiting)  # replaced by an earlier time
        if self._waiting:
            self._timer = self._clock.call_later(self._waiting[0][0] - self._clock.monotonic(), self._fire)

    def _fire(self) -> None:
        now = self._clock.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            when, _, key = heapq.heappop(self._waiting)
            if self._ready_at.get(key) == when:
                del self._ready_at[key]
                self.add(key)
        self._timer = None
        self._set_timer()
