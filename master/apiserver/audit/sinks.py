"""Where audit events go: a file that is rotated, or a webhook that gets them in batches. Each is a thread.

``emit`` never waits. What does not fit into the queue, cannot be written or is not taken is lost, and counted.
"""

import contextlib
import datetime
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from prometheus_client import Counter

from apimachinery.config import ClusterAccess
from apimachinery.logging import get_logger

from .records import Event

_log = get_logger(__name__)

MAX_EVENTS, MAX_BYTES = 10_000, 64 * 1024 * 1024
"""What may wait for a sink's thread."""
_events = Counter("apiserver_audit_event", "Audit events made.")
_lost = Counter("apiserver_audit_error", "Audit events that were lost.", ["plugin"])


class Sink:
    """A queue and the thread that empties it. ``name`` is a label of the metrics."""

    name = ""

    def __init__(self, batch: int = 400, wait: float = 0.0) -> None:
        self._batch, self._wait = batch, wait
        self._queue: deque[Event] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._ending = False
        self._told = 0.0
        self._thread = threading.Thread(target=self._run, name=f"audit {self.name}", daemon=True)
        self._thread.start()

    def emit(self, event: Event) -> None:
        """Queue an event, or lose it."""
        size = event.size
        with self._changed:
            if len(self._queue) >= MAX_EVENTS or self._bytes + size > MAX_BYTES or self._ending:
                _lost.labels(self.name).inc()
                return
            self._queue.append(event)
            self._bytes += size
            if len(self._queue) in (1, self._batch):
                self._changed.notify()

    def close(self, seconds: float = 3.0) -> None:
        """Deliver what is queued, if that takes no longer than ``seconds``."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(seconds)

    def deliver(self, lines: Sequence[bytes]) -> None:
        """Raises OSError."""
        raise NotImplementedError

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._ending)
                if self._wait:
                    self._changed.wait_for(lambda: len(self._queue) >= self._batch or self._ending, self._wait)
                events = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
                self._bytes -= sum(event.size for event in events)
                if not events and self._ending:
                    return
            self._deliver(events)

    def _deliver(self, events: list[Event]) -> None:
        try:
            self.deliver([event.finished() for event in events])
        except Exception as error:  # the boundary of a sink: the next batch may get through
            _lost.labels(self.name).inc(len(events))
            if time.monotonic() - self._told > 60:
                self._told = time.monotonic()
                _log.error("Audit events are lost", sink=self.name, error=repr(error))


class LogSink(Sink):
    """One event a line. ``max_size`` in MB, ``max_age`` in days, 0 = no limit; ``path`` "-" is stdout.

    Several processes may share a file: lines are appended whole, and who finds it renamed opens the new one.
    """

    name = "log"

    def __init__(self, path: str, max_size: int = 0, max_age: int = 0, max_backup: int = 0) -> None:
        self._path = Path(path)
        self._max_bytes = max_size * 1_000_000
        self._max_age, self._max_backup = max_age, max_backup
        self._file: BinaryIO | None = None
        self._is_stdout = path == "-"
        if not self._is_stdout:
            self._open().close()  # what cannot be written at all is told at start
        super().__init__()

    def _open(self) -> BinaryIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return open(self._path, "ab", buffering=0, opener=lambda p, flags: os.open(p, flags, 0o600))

    def deliver(self, lines: Sequence[bytes]) -> None:
        data = b"".join(line + b"\n" for line in lines)
        if self._is_stdout:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        file = self._current(len(data))
        written = file.write(data)
        if written != len(data):
            raise OSError(f"wrote {written} of {len(data)} bytes to {self._path}")

    def _current(self, more: int) -> BinaryIO:
        """The file as it is named now, with room for ``more`` bytes."""
        if self._file is None or not self._is_named(self._file):
            if self._file is not None:
                self._file.close()
            self._file = self._open()
        size = os.fstat(self._file.fileno()).st_size
        if self._max_bytes and size and size + more > self._max_bytes:
            self._rotate()
            self._file.close()
            self._file = self._open()
        return self._file

    def _is_named(self, file: BinaryIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]
        self._path.rename(self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}"))
        backups = sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"), reverse=True)
        oldest = time.time() - self._max_age * 86_400
        for number, backup in enumerate(backups):
            with contextlib.suppress(FileNotFoundError):  # another process of ours was faster
                if (self._max_backup and number >= self._max_backup) or (
                    self._max_age and backup.stat().st_mtime < oldest
                ):
                    backup.unlink()


class WebhookSink(Sink):
    """Posts EventLists to the server of a kubeconfig. A batch is tried four times, with longer and longer pauses."""

    name = "webhook"
    attempts, timeout = 4, 30.0

    def __init__(self, access: ClusterAccess, batch: int, wait: float, backoff: float) -> None:
        self._access, self._backoff = access, backoff
        self._tls = access.tls() if access.server.startswith("https:") else None
        super().__init__(batch, wait)

    def deliver(self, lines: Sequence[bytes]) -> None:
        body = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[%b]}' % b",".join(lines)
        headers = {"Content-Type": "application/json"}
        if self._access.token:
            headers["Authorization"] = f"Bearer {self._access.token}"
        request = urllib.request.Request(self._access.server, body, headers)  # noqa: S310 - the operator's own URL
        for attempt in range(self.attempts):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout, context=self._tls):  # noqa: S310
                    return
            except OSError:
                if attempt == self.attempts - 1 or self._ending:
                    raise
                with self._changed:
                    self._changed.wait_for(lambda: self._ending, self._backoff * 1.5**attempt)


class Sinks:
    """All that an event goes to."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    def emit(self, event: Event) -> None:
        _events.inc()
        for sink in self._sinks:
            sink.emit(event)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()
