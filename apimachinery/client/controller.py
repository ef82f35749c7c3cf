"""The loop that every controller shares: take a key, reconcile it, put it back if there is more to do.

Waiting is a return value (seconds), retrying is an exception, giving up is a plain return. A reconcile reads
everything it needs anew: it is told which object, never what happened.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import ClassVar, Generic, TypeVar

from apimachinery.client.workqueue import ShutDown, WorkQueue
from apimachinery.errors import ApiError, Conflict, ServiceUnavailable, Timeout
from apimachinery.logging import Logger, get_logger
from apimachinery.metrics import ControllerMetrics

K = TypeVar("K", bound=Hashable)


class Controller(ABC, Generic[K]):
    """Subclasses set ``name``, add handlers that enqueue keys, and write ``reconcile``."""

    name: ClassVar[str]
    workers: int = 4

    def __init__(self, *, queue: WorkQueue[K] | None = None, metrics: ControllerMetrics | None = None) -> None:
        self.queue: WorkQueue[K] = queue if queue is not None else WorkQueue()
        self.log: Logger = get_logger(self.name)
        self._metrics = metrics

    @abstractmethod
    async def reconcile(self, key: K) -> float | None:
        """Bring the object of ``key`` to what is declared. Returns the seconds after which to look again."""

    async def run(self) -> None:
        """Work until cancelled or until the queue is shut down."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.workers):
                group.create_task(self._work(), name=f"{self.name}-{number}")

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except ShutDown:
                return
            try:
                await self._process(key)
            finally:
                self.queue.done(key)
            # A ready key and a reconcile with nothing to wait for never suspend: let the rest of the process run.
            await asyncio.sleep(0)

    async def _process(self, key: K) -> None:
        started = time.perf_counter()
        result = "success"
        try:
            again = await self.reconcile(key)
        except Exception as error:  # the boundary: whatever one key does, the others go on
            result = "error"
            self._report(key, error)
            self.queue.add_rate_limited(key)
        else:
            self.queue.forget(key)
            if again is not None:
                result = "requeue"
                self.queue.add_after(key, again)
        if self._metrics is not None:
            self._metrics.observe(self.name, result, time.perf_counter() - started)

    def _report(self, key: K, error: Exception) -> None:
        if isinstance(error, Conflict | ServiceUnavailable | Timeout):  # expected: someone else wrote, or a restart
            self.log.debug("Reconcile to be tried again", key=key, error=error.message)
        elif isinstance(error, ApiError):
            self.log.warning("Reconcile failed", key=key, error=error.message, failures=self.queue.failures(key))
        else:
            self.log.exception("Reconcile failed", key=key, failures=self.queue.failures(key))
