"""Container logs in the CRI's format, copied from the engine's json-file logs.

The engine's file is read when the kernel says that it grew. That costs the engine nothing (its ``logs`` and
``attach`` streams make it decode and send every line once more) and survives this process: where a copy stands
follows from the copy itself, whose last line carries the time of the entry it came from. So after a kill
nothing is lost and nothing doubled. Only just after a rotation, when the new file is still empty, is a mark kept
in a file needed.

A line of the CRI: ``TIME STREAM TAG CONTENT``, with tag F for a full line and P for a part of one: the engine
splits at 16 KiB, and an entry without a newline is a part.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from apimachinery.logging import get_logger
from node.cri_docker.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO, Inotify
from node.cri_docker.log_copy import LogCopy, Mark
from node.cri_docker.records import ContainerRecord
from protos.cri.runtime.v1 import api_pb2 as cri

_GATHER_SECONDS = 0.03
"""Lines that come within this time are copied together: a chatty container wakes us 30 times a second."""
_RETRY_SECONDS = 1.0
log = get_logger(__name__)


class Logs:
    """The copies of all running containers. All methods belong to the event loop."""

    def __init__(self, engine_root: Callable[[], str], marks: Path) -> None:
        marks.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._engine_root, self._marks = engine_root, marks
        self._inotify = Inotify()
        self._copies: dict[str, _Watched] = {}
        self._finished: set[str] = set()

    async def follow(self, record: ContainerRecord) -> None:
        """Bring a container's log up to its record: begin a copy, go on, or finish it. May be repeated."""
        if not record.log_path or not record.engine_log or record.id in self._finished:
            return
        if record.state == cri.CONTAINER_CREATED:
            return
        watched = self._copies.get(record.id) or self._begin(record)
        if record.state == cri.CONTAINER_EXITED:
            if not await watched.drain():
                return  # a full disk: it goes on trying for as long as the engine keeps the container
            watched.close()
            self._copies.pop(record.id, None)
            self._finished.add(record.id)

    def reopen(self, record: ContainerRecord) -> None:
        """The log was renamed: go on in a new file at its path. OSError where it cannot be made."""
        if watched := self._copies.get(record.id):
            watched.reopen()

    def forget(self, container_id: str) -> None:
        """The container is removed."""
        if watched := self._copies.pop(container_id, None):
            watched.close()
        self._finished.discard(container_id)
        (self._marks / container_id).unlink(missing_ok=True)

    def close(self) -> None:
        for watched in self._copies.values():
            watched.close()
        self._copies.clear()
        self._inotify.close()

    def _begin(self, record: ContainerRecord) -> "_Watched":
        source = self._engine_root() + record.engine_log
        copy = LogCopy(source, record.log_path, Mark(self._marks / record.id))
        watched = self._copies[record.id] = _Watched(copy, self._inotify)
        return watched


class _Watched:
    """A copy that the kernel wakes."""

    def __init__(self, copy: LogCopy, inotify: Inotify) -> None:
        self._copy, self._inotify = copy, inotify
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._watch = -1
        try:
            self._watch = inotify.watch(os.path.dirname(copy.source), IN_MODIFY | IN_CREATE | IN_MOVED_TO, self._woken)
        except OSError as error:
            log.error("Log cannot be followed", source=copy.source, error=error)
        self._woken()

    def _woken(self) -> None:
        if self._timer is None:
            delay = max(0.0, self._last + _GATHER_SECONDS - self._loop.time())
            self._timer = self._loop.call_later(delay, self._copy_some)

    def _copy_some(self) -> None:
        self._timer = None
        delay = self._step()
        self._last = self._loop.time()
        if delay is not None:
            self._timer = self._loop.call_later(delay, self._copy_some)

    def _step(self) -> float | None:
        """Copy one piece. Returns the seconds until the next should be copied, None to wait for the kernel."""
        try:
            return 0.0 if self._copy.step() else None
        except OSError as error:
            log.error("Log cannot be written", path=self._copy.target, error=error)
            return _RETRY_SECONDS

    async def drain(self) -> bool:
        """Copy all there is; False when that is not possible now."""
        while (delay := self._step()) == 0.0:
            await asyncio.sleep(0)
        if delay is not None:
            self._woken()
        return delay is None

    def reopen(self) -> None:
        while self._step() == 0.0:
            pass
        self._copy.reopen()

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._inotify.unwatch(self._watch)
        self._copy.close()
