"""One watch: a filter and a buffer between the cache, which never waits, and a client, which may be slow."""

import asyncio
from collections.abc import Callable

from .entry import Entry, Event, EventType

BUFFER = 20_000
"""Events that may wait for a slow client before its watch is cut off; it then watches again from where it was."""

Accept = Callable[[Entry], bool]


class Watcher:
    """Use: register with ``Bucket.watch``, then await ``batch`` again and again; ``close`` at the end.

    ``pin`` is a field and a value that every wanted object has, if the filter demands one.
    """

    def __init__(self, accept: Accept | None = None, pin: tuple[str, str] | None = None, limit: int = BUFFER) -> None:
        self.pin = pin
        self.closed = False
        self.on_close: Callable[[], None] = lambda: None
        self._accept = accept
        self._limit = limit
        self._pending: list[tuple[EventType, Event]] = []
        self._waiting: asyncio.Future[None] | None = None

    def start_with(self, entries: list[Entry]) -> None:
        """Begin with these objects as ADDED events, before any change."""
        self._pending.extend(("ADDED", Event(e.revision, e, None)) for e in entries)
        self._limit += len(entries)

    def offer(self, event: Event) -> None:
        """Take an event if the filter wants it. Entering the selection is ADDED, leaving it is DELETED."""
        type_ = event.type
        if self._accept:
            new = event.new is not None and self._accept(event.new)
            old = event.old is not None and self._accept(event.old)
            if not (new or old):
                return
            type_ = ("MODIFIED" if old else "ADDED") if new else "DELETED"
        self._pending.append((type_, event))
        if len(self._pending) > self._limit:
            self.close()
        self._wake()

    async def batch(self, timeout: float) -> list[tuple[EventType, Event]]:
        """What is there, or comes within ``timeout`` seconds: all at once, maybe nothing."""
        if not self._pending and not self.closed:
            timer = asyncio.get_running_loop().call_later(timeout, self._wake)
            try:
                await self.wait()
            finally:
                timer.cancel()
        return self.take()

    async def wait(self) -> None:
        """Return when something is there, or nothing will come any more."""
        if not self._pending and not self.closed:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    def take(self) -> list[tuple[EventType, Event]]:
        """What is there now."""
        batch, self._pending = self._pending, []
        return batch

    @property
    def idle(self) -> bool:
        """Whether all that the cache has seen has been taken."""
        return not self._pending

    def close(self) -> None:
        """Stop. What is buffered can still be read; ``closed`` tells that nothing follows."""
        if not self.closed:
            self.closed = True
            self.on_close()
            self._wake()

    def _wake(self) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)
