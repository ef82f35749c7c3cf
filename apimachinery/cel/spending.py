"""Evaluations that hold up nobody else: what takes long goes on in a thread."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from .errors import Budget

AT_ONCE = 40_000
"""What may be spent before others get their turn: about ten milliseconds."""
_LONGEST_CALL = 500
"""Steps that a single call takes, however much it costs: as asking an authorizer."""
PAUSE_SECONDS = 0.0005
T = TypeVar("T")


class _TooLong(Exception):
    pass


class _Trial(Budget):
    """Ends an evaluation that goes on for long; its ``effort`` is what may be done at once."""

    __slots__ = ()

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.effort = AT_ONCE

    def charge(self, cost: int) -> None:
        self.work(min(cost, _LONGEST_CALL))
        super().charge(cost)

    def work(self, steps: int) -> None:
        self.effort -= steps
        if self.effort < 0:
            raise _TooLong


class _Patient(Budget):
    """Lets the event loop run now and then: without a pause it would wait for its turn at every step."""

    __slots__ = ("_pause",)

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self._pause = total + self.effort

    def charge(self, cost: int) -> None:
        super().charge(cost)
        self._rest()

    def work(self, steps: int) -> None:
        super().work(steps)
        self._rest()

    def _rest(self) -> None:
        if self.left + self.effort < self._pause:
            self._pause = self.left + self.effort - AT_ONCE // 10
            time.sleep(PAUSE_SECONDS)


@cache
def _worker() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "costly expressions")


async def spend(work: Callable[[Budget], T], total: int) -> T:
    """Evaluate within a budget of ``total``. To find out what takes long, its beginning is done twice."""
    try:
        return work(_Trial(total))
    except _TooLong:
        return await asyncio.get_running_loop().run_in_executor(_worker(), work, _Patient(total))
