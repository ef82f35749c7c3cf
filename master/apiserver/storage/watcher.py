"""One watch: a filter and a buffer between the cache, which never waits, and a client, which may be slow."""

import asyncio
from collections.abc import Callable

from .entry import Entry, Event, EventType

BATCH = 256
"""Events that are taken out at once: more would hold up the loop while they are joined and encrypted."""
BUFFER = 20_000
"""Events that may wait for a slow client before its watch is cut off; it then watches again from where it was."""

Accept = Callable[[Entry], bool]


def _nothing() -> None:
    """Nobody wants to know."""


class Watcher:
    """Use: register with ``Bucket.watch``, then await ``batch`` again and again; ``close`` at the end.

    Or set ``on_ready``, which is called when there is something to take with ``some``, and when it is closed.
    ``pin`` is a field and a value that every wanted object has, if the filter demands one.
    """

    def __init__(self, accept: Accept | None = None, pin: tuple[str, str] | None = None, limit: int = BUFFER) -> None:
        self.pin = pin
        self.closed = False
        self.on_close: Callable[[], None] = _nothing
        self.on_ready: Callable[[], None] | None = None
        self._accept = accept
        self._limit = limit
        self._initial: list[Entry] = []
        self._pending: list[tuple[EventType, Event]] = []
        self._waiting: asyncio.Future[None] | None = None

    def start_with(self, entries: list[Entry]) -> None:
        """Begin with those of these objects that are wanted as ADDED events, before any change."""
        self._initial = entries[::-1]

    @property
    def starting(self) -> bool:
        """Whether there may be more of what it began with."""
        return bool(self._initial)

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
        """What is there, or comes within ``timeout`` seconds: at most ``BATCH`` events, maybe none."""
        if self.idle and not self.closed:
            timer = asyncio.get_running_loop().call_later(timeout, self._wake)
            try:
                await self.wait()
            finally:
                timer.cancel()
        return self.some()

    async def wait(self) -> None:
        """Return when something is there, or nothing will come any more."""
        if self.idle and not self.closed:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    def some(self) -> list[tuple[EventType, Event]]:
        """The next events of what is there; none of what it began with may be wanted."""
        if self._initial:
            entries, accept = self._initial[: -BATCH - 1 : -1], self._accept
            del self._initial[-BATCH:]
            return [("ADDED", Event(e.revision, e, None)) for e in entries if accept is None or accept(e)]
        if len(self._pending) <= BATCH:
            batch, self._pending = self._pending, []
        else:
            batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
        return batch

    def take(self) -> list[tuple[EventType, Event]]:
        """All that is there now."""
        batch = []
        while not self.idle:
            batch += self.some()
        return batch

    @property
    def idle(self) -> bool:
        """Whether all that the cache has seen has been taken."""
        return not self._pending and not self._initial

    def close(self) -> None:
        """Stop. What is buffered can still be read; ``closed`` tells that nothing follows."""
        if not self.closed:
            self.closed = True
            self.on_close()
            self.on_close = _nothing  # it leads back here
            self._wake()

    def _wake(self) -> None:
        if self.on_ready:
            self.on_ready()
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)
