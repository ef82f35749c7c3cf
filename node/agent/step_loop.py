"""Runs one kind of step again and again, one at a time, whenever something may have changed.

Guarantees: never two steps at once; a wake during a step is followed by another step; between steps there is no task,
only state, so thousands of idle loops cost nothing. A step that fails is logged and tried again with back-off.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from apimachinery.backoff import Backoff
from apimachinery.errors import ApiError
from apimachinery.logging import get_logger
from node.agent.volumes.volume import VolumeError
from node.cri.runtime import RuntimeFault

_log = get_logger(__name__)
T = TypeVar("T")


class StepLoop:
    """``step`` returns seconds after which to run again though nothing changed; None = only when something does."""

    def __init__(self, name: str, step: Callable[[], Awaitable[float | None]]) -> None:
        self._name, self._next = name, step
        self._dirty = self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._step: asyncio.Task[float | None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._retry = Backoff(initial=0.5, maximum=30.0)

    @property
    def stepping(self) -> bool:
        return self._step is not None

    def wake(self) -> None:
        """Run a step soon."""
        if self._closed:
            return
        self._dirty = True
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self._name)

    def interrupt(self) -> None:
        """Cancel the step under way, once; wake to begin another."""
        if self._step is not None and not self._step.cancelling():
            self._step.cancel()

    def finish(self) -> None:
        """No step after the one under way."""
        self._closed = True
        self._cancel_timer()

    async def close(self) -> None:
        """Cancel everything and wait until it is gone."""
        self.finish()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        self._cancel_timer()
        while self._dirty and not self._closed:
            self._dirty = False
            self._step = asyncio.create_task(self._guarded(), name=f"step-{self._name}")
            try:
                await asyncio.wait({self._step})
            except asyncio.CancelledError:
                self._step.cancel()
                raise
            if not self._step.cancelled():
                self._wake_in(self._step.result())
        self._step = self._task = None

    async def _guarded(self) -> float | None:
        """One step; what it raises is logged and tried again later."""
        try:
            delay = await self._next()
        except (RuntimeFault, ApiError, VolumeError, OSError) as error:
            _log.warning("Step failed, trying again", step=self._name, error=str(error))
            return self._retry.next()
        except Exception:
            _log.exception("Step broke", step=self._name)
            return self._retry.next()
        self._retry.reset()
        return delay

    def _wake_in(self, delay: float | None) -> None:
        if delay is not None and not self._dirty and not self._closed:
            self._cancel_timer()
            self._timer = asyncio.get_running_loop().call_later(max(delay, 0.01), self.wake)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def finish_first(work: Coroutine[Any, Any, T]) -> T:
    """Await ``work`` to its end, and only then let a cancellation through.

    For calls that make something: a runtime goes on with what its caller no longer waits for, and what appears after
    the caller has looked is nobody's.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
