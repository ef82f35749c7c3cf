"""A process's life: named guarded tasks, signals, and a shutdown that has a bound.

``run`` starts the event loop, turns SIGTERM and SIGINT into cancellation of the main coroutine and gives it
``drain_seconds`` to finish; what then still hangs is named in the log and left behind. ``Tasks`` holds the
long-lived tasks: one that fails, or ends although it should not, ends the group with its error, so that a
process is never half alive.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

import uvloop

from apimachinery.logging import get_logger

_log = get_logger(__name__)


class TaskEnded(Exception):
    """A task that has to run as long as its process returned."""


class Tasks:
    """Long-lived tasks of one owner. Use as ``async with Tasks() as tasks: tasks.start(...); await tasks.wait()``.

    Leaving the block cancels all of them and waits until they are gone.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, name: str, coroutine: Coroutine[Any, Any, Any], *, may_end: bool = False) -> asyncio.Task[Any]:
        """Run ``coroutine`` under ``name``. If it raises, or returns and not ``may_end``, ``wait`` raises.

        Raises ValueError for a name that runs already: the same work twice would undo itself.
        """
        if any(task.get_name() == name for task in self._tasks):
            coroutine.close()
            raise ValueError(f"task {name!r} runs already")
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(lambda t: self._ended(t, may_end))
        return task

    def _ended(self, task: asyncio.Task[Any], may_end: bool) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None and may_end:
            return
        _log.error("Task ended", task=task.get_name(), error=repr(error) if error else "it returned")
        if not self._failed.done():
            self._failed.set_exception(error or TaskEnded(f"task {task.get_name()} ended"))

    async def wait(self) -> None:
        """Until one of the tasks fails: raises its error."""
        await asyncio.shield(self._failed)

    async def close(self) -> None:
        """Cancel all tasks and wait for them. Errors while they end are logged, not raised."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task, result in zip(tasks, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
            if isinstance(result, Exception):
                _log.error("Task failed while it was stopped", task=task.get_name(), error=repr(result))
        if not self._failed.done():
            self._failed.cancel()
        elif not self._failed.cancelled():
            self._failed.exception()  # marks it as seen: wait() may never have been called

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def guard(name: str, step: Callable[[], Awaitable[None]]) -> None:
    """One named boundary: an exception of ``step`` is logged and goes no further. Cancellation passes."""
    try:
        await step()
    except Exception:
        _log.exception("Step failed", step=name)


def run(main: Callable[[], Coroutine[Any, Any, None]], *, drain_seconds: float = 10.0) -> int:
    """Run ``main()`` on uvloop until it ends or a signal comes. Returns the exit code for ``sys.exit``.

    0 after a normal end or a signal, 1 after an error (which is logged). A second signal exits at once.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_supervise(main, drain_seconds))


async def _supervise(main: Callable[[], Coroutine[Any, Any, None]], drain_seconds: float) -> int:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stopping, number)
    task = asyncio.create_task(main(), name="main")
    stop = asyncio.create_task(stopping.wait(), name="signals")
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=drain_seconds)
    return _exit_code(task, stopping.is_set())


def _stop(stopping: asyncio.Event, number: signal.Signals) -> None:
    if stopping.is_set():
        _log.warning("Second signal, leaving at once", signal=number.name)
        os._exit(1)
    _log.info("Stopping", signal=number.name)
    stopping.set()


def _exit_code(task: asyncio.Task[None], signalled: bool) -> int:
    if not task.done():
        hanging = sorted(t.get_name() for t in asyncio.all_tasks() if t is not asyncio.current_task())
        _log.error("Did not stop in time", tasks=",".join(hanging))
        sys.stderr.flush()
        os._exit(1)  # leaving normally would wait for what hangs
    if task.cancelled():
        return 0 if signalled else 1
    error = task.exception()
    if error is not None:
        _log.error("Ended by an error", error=f"{type(error).__name__}: {error}")
        return 1
    return 0
