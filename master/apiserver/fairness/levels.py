"""Priority levels: their seats, their queues, and how idle seats are lent.

A request of a level that has its guaranteed seats free is seated. Beyond those a level sits on its own lendable seats
and then on what others lend, as long as every other level's guarantee stays untouched; upstream moves such borrowed
limits every ten seconds, here it is decided seat by seat. Waiting requests are shuffled over a level's queues by flow
and dispatched in the order of the queues' seat-seconds (start-time fair queueing).
"""

import asyncio
import hashlib
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from apimachinery.errors import TooManyRequests

MAX_WAIT = 15.0
"""Seconds in a queue before a request is refused: upstream's quarter of the request timeout."""
MAX_WIDTH, _WIDTH_SHARE = 10, 0.15
"""A request's seats at most, and which part of its level's."""
_FIRST_GUESS, _SMOOTHING = 0.01, 0.125


@dataclass(frozen=True, slots=True)
class LevelConfig:
    """A PriorityLevelConfiguration with its shares turned into seats. ``queues`` 0: refuse at once.

    ``guaranteed`` seats are never lent, ``most`` is what it may have with borrowed ones.
    """

    name: str
    uid: str = ""
    exempt: bool = False
    nominal: int = 1
    guaranteed: int = 0
    most: int = 1
    queues: int = 0
    hand: int = 1
    length: int = 0


class Queue:
    """``virtual``: the seat-seconds that it has been given, on the level's clock."""

    __slots__ = ("virtual", "waiting")

    def __init__(self) -> None:
        self.virtual = 0.0
        self.waiting: deque[_Waiter] = deque()


@dataclass(slots=True, eq=False)
class _Waiter:
    seated: asyncio.Future[None]
    width: int


class Level:
    """Invariant: a queue is in ``_active`` exactly while somebody waits in it."""

    def __init__(self, config: LevelConfig, pool: "Pool", clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self.in_use = self.executing = self.waiting = 0
        self._pool, self._clock = pool, clock
        self._virtual, self._mean = 0.0, _FIRST_GUESS
        self._queues = [Queue() for _ in range(config.queues)]
        self._active: dict[Queue, None] = {}

    def configure(self, config: LevelConfig) -> None:
        """Take a new configuration; who waits in a queue that is no more is still served."""
        if config.queues != self.config.queues:
            self._queues = [Queue() for _ in range(config.queues)]
        self.config = config

    def width(self, wanted: int) -> int:
        """The seats that a request of ``wanted`` gets here: never so many that it could not be seated."""
        return min(wanted, MAX_WIDTH, max(1, math.ceil(self.config.nominal * _WIDTH_SHARE))) if wanted > 1 else 1

    def hand(self, flow: str) -> tuple[Queue, ...]:
        """The queues that a flow may wait in: a few of many, so that two flows seldom share all of theirs."""
        value = int.from_bytes(hashlib.blake2b(flow.encode(), digest_size=16).digest())
        left, chosen = list(self._queues), []
        for _ in range(min(self.config.hand, len(left))):
            value, index = divmod(value, len(left))
            chosen.append(left.pop(index))
        return tuple(chosen)

    def seat(self, width: int) -> bool:
        """Sit down at once, if there are seats and nobody waits for them."""
        if self.waiting or not self._pool.fits(self, width):
            return False
        self._sit(width)
        return True

    async def queue(self, flow: str, width: int) -> "tuple[Queue, float]":
        """Wait for seats. Returns what ``leave`` wants to know. Raises TooManyRequests."""
        hand = self.hand(flow)
        queue = min(hand, key=lambda q: len(q.waiting), default=None)
        if queue is None:
            raise Rejected("concurrency-limit")
        if len(queue.waiting) >= self.config.length:
            raise Rejected("queue-full")
        waiter = _Waiter(asyncio.get_running_loop().create_future(), width)
        if not queue.waiting:
            queue.virtual = max(queue.virtual, self._virtual)
            self._active[queue] = None
        queue.waiting.append(waiter)
        self.waiting += 1
        try:
            async with asyncio.timeout(MAX_WAIT):
                await waiter.seated
        except BaseException as error:
            self._give_up(queue, waiter)
            if isinstance(error, TimeoutError):
                raise Rejected("time-out") from None
            raise
        return queue, self._mean

    def _give_up(self, queue: Queue, waiter: _Waiter) -> None:
        if waiter in queue.waiting:
            self._remove(queue, waiter)
        elif not waiter.seated.cancelled():
            self.leave(waiter.width, 0.0)

    def _remove(self, queue: Queue, waiter: _Waiter) -> None:
        queue.waiting.remove(waiter)
        self.waiting -= 1
        if not queue.waiting:
            del self._active[queue]

    def dispatch(self) -> bool:
        """Seat the next of those who wait, if there is room."""
        if not self._active:
            return False
        queue = min(self._active, key=_virtual)
        waiter = queue.waiting[0]
        if not self._pool.fits(self, waiter.width):
            return False
        self._remove(queue, waiter)
        if waiter.seated.done():  # cancelled just now
            return True
        self._virtual = max(self._virtual, queue.virtual)
        queue.virtual += waiter.width * self._mean
        self._sit(waiter.width)
        waiter.seated.set_result(None)
        return True

    def leave(self, width: int, seconds: float, queued: tuple[Queue, float] | None = None) -> None:
        """A request has ended after ``seconds`` on its seats."""
        self._mean += (seconds - self._mean) * _SMOOTHING
        if queued:
            queued[0].virtual += width * (seconds - queued[1])
        self._pool.move(self, -width)
        self.executing -= 1
        self._pool.dispatch()

    def _sit(self, width: int) -> None:
        self._pool.move(self, width)
        self.executing += 1

    @property
    def idle(self) -> bool:
        return not self.in_use and not self.waiting


def _virtual(queue: Queue) -> float:
    return queue.virtual


class Pool:
    """All seats of the server. ``_kept`` = for each level, what it uses or is guaranteed, whichever is more."""

    def __init__(self) -> None:
        self.levels: dict[str, Level] = {}
        self._total = self._kept = 0

    def configure(self, configs: dict[str, LevelConfig], total: int) -> None:
        """Levels that are gone keep one seat until they have served who waits."""
        for name, config in configs.items():
            level = self.levels.get(name)
            if level is None:
                self.levels[name] = Level(config, self)
            else:
                level.configure(config)
        for name in self.levels.keys() - configs.keys():
            level = self.levels[name]
            if level.idle:
                del self.levels[name]
            else:
                level.config = LevelConfig(name, level.config.uid)
        self._total = total
        self._kept = sum(max(level.in_use, level.config.guaranteed) for level in self.levels.values())

    def fits(self, level: Level, width: int) -> bool:
        used = level.in_use + width
        guaranteed = level.config.guaranteed
        if used <= guaranteed:
            return True
        if level.in_use and used > level.config.most:
            return False
        more = used - max(level.in_use, guaranteed)
        return self._kept + more <= self._total or not level.in_use  # one request is always let in

    def move(self, level: Level, width: int) -> None:
        guaranteed = level.config.guaranteed
        before = max(level.in_use, guaranteed)
        level.in_use += width
        self._kept += max(level.in_use, guaranteed) - before

    def dispatch(self) -> None:
        """Seat who waits, the level first that has least of what is its own."""
        waiting = [level for level in self.levels.values() if level.waiting]
        while waiting:
            waiting.sort(key=lambda level: level.in_use / max(level.config.nominal, 1))
            waiting = [level for level in waiting if level.dispatch()]


class Rejected(TooManyRequests):
    """In upstream's words; ``why`` is the label of its metric: queue-full, concurrency-limit or time-out."""

    def __init__(self, why: str) -> None:
        super().__init__("Too many requests, please try again later.", retry_after_seconds=1)
        self.why = why
