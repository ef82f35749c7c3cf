"""The cached objects of one kind, its recent changes, and its watchers.

Everything here is synchronous, so whoever reads the objects and registers a watcher without an await in between misses
nothing and sees nothing twice.
"""

import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Protocol

from apimachinery.logging import get_logger

from .entry import Entry, Event, FieldLabels
from .interface import Compacted, Unreadable
from .pages import Pages
from .watcher import Watcher

_log = get_logger(__name__)

KEEP_SECONDS = 75
"""Changes younger than this are kept for watches that start from a version, as upstream."""
KEEP_AT_LEAST = 256
KEEP_AT_MOST = 50_000
KEEP_ENCODED = 128
"""Changes of which the bytes that were sent are kept: watchers that are further behind have them made again."""
_revision = attrgetter("revision")


class Versions(Protocol):
    """The objects of a bucket as the versions of their kind show them, where that is not as they are stored."""

    async def current(self, version: str) -> "Bucket":
        """What is in the bucket at this moment, as a version shows it. Raises ApiError."""
        ...

    async def entries(self, version: str, entries: Sequence[Entry]) -> list[Entry]:
        """Objects of another time, as a version shows them. Raises ApiError."""
        ...


class Bucket:
    """``revision`` is that of the last change here, ``loaded`` that of the first list; nothing is known before it.
    ``floor``: watches can start from it or later, not from before. ``unreadable`` tells by key why what somebody else
    has written is no object; the last good state stays, for those inside who cannot do without."""

    def __init__(self, floor: int, field_labels: FieldLabels, clock: Callable[[], float] = time.monotonic) -> None:
        self.entries: dict[str, Entry] = {}
        self.unreadable: dict[str, str] = {}
        self.floor = floor
        self.loaded = floor
        self.revision = floor
        self.field_labels = field_labels
        self.listeners: list[Callable[[], None]] = []
        self.versions: Versions | None = None
        self.pages = Pages()
        self._clock = clock
        self._sorted: list[str] = []
        self._events: list[Event] = []
        self._watchers: set[Watcher] = set()
        self._pinned: dict[tuple[str, str], set[Watcher]] = {}

    def load(self, entries: list[Entry]) -> None:
        """Fill an empty bucket with what a first list found."""
        self.pages.forget()
        self.entries = {e.key: e for e in entries}
        self._sorted = sorted(self.entries)

    def get(self, key: str) -> Entry | None:
        return self.entries.get(key)

    def select(self, namespace: str = "", start: str = "") -> list[Entry]:
        """Entries in key order: of a namespace, or all; from the key ``start`` on if given."""
        return self.page(namespace, start, 0)[0]

    def page(self, namespace: str, start: str, limit: int) -> tuple[list[Entry], int]:
        """The first ``limit`` entries of a selection (0 or less = all), and how many follow."""
        keys = self._sorted
        low = bisect_left(keys, max(start, f"{namespace}/" if namespace else "")) if start or namespace else 0
        high = bisect_left(keys, f"{namespace}0") if namespace else len(keys)  # "0" follows "/"
        end = min(high, low + limit) if limit > 0 else high
        return list(map(self.entries.__getitem__, keys[low:end])), max(high - end, 0)

    def count(self, namespace: str = "") -> int:
        """How many entries ``select`` would give."""
        keys = self._sorted
        return bisect_left(keys, f"{namespace}0") - bisect_left(keys, f"{namespace}/") if namespace else len(keys)

    def change(self, key: str, value: bytes | None, revision: int) -> None:
        """Take in one change and hand it to the watchers. A change already seen is dropped."""
        old = self.entries.get(key)
        if old and revision <= old.revision:
            return
        self.unreadable.pop(key, None)
        if old is None and value is None:
            return
        try:
            new = None if value is None else Entry(key, value, revision, self.field_labels)
        except Unreadable as error:
            self.unreadable[key] = str(error)
            _log.error("Somebody has written what is no object", key=key, revision=revision)
            return
        self.put(key, new, revision, self._clock())

    def put(self, key: str, new: Entry | None, revision: int, time: float) -> None:
        """Take in a change that is known to be one."""
        old = self.entries.get(key)
        self.pages.forget()
        if new:
            self.entries[key] = new
            if old is None:
                insort(self._sorted, key)
        else:
            del self.entries[key]
            del self._sorted[bisect_left(self._sorted, key)]
        self.revision = revision
        event = Event(revision, new, old, time)
        self._remember(event)
        for watcher in self._concerned(event):
            watcher.offer(event)
        for listener in self.listeners:
            listener()

    def watch(self, watcher: Watcher, after: int) -> None:
        """Give a watcher what happened after a revision and all that follows. Raises Compacted behind the floor."""
        if after < self.floor:
            raise Compacted(self.floor)
        for event in self._events[bisect_right(self._events, after, key=_revision) :]:
            watcher.offer(event)
        pin = watcher.pin
        (self._pinned.setdefault(pin, set()) if pin else self._watchers).add(watcher)
        watcher.on_close = lambda: self._forget(watcher)

    @property
    def events(self) -> Sequence[Event]:
        """The changes since ``floor``."""
        return self._events

    @property
    def watchers(self) -> int:
        return len(self._watchers) + sum(map(len, self._pinned.values()))

    def forget(self, revision: int) -> None:
        """Changes up to here are no longer complete: no new watch may start from before it."""
        self._events.clear()
        self.floor = self.loaded = revision

    def close(self) -> None:
        """End all watches: the server stops."""
        for watcher in [*self._watchers, *(w for pinned in self._pinned.values() for w in pinned)]:
            watcher.close()

    def _forget(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)
        pin = watcher.pin
        if pin and pin in self._pinned:
            self._pinned[pin].discard(watcher)
            if not self._pinned[pin]:
                del self._pinned[pin]

    def _concerned(self, event: Event) -> Iterator[Watcher]:
        """Watchers that want one value of one field (a node's pods) are found by it, not asked one by one."""
        yield from list(self._watchers)
        if not self._pinned:
            return
        pins = {("metadata.name", event.key.rpartition("/")[2])}
        for entry in (event.old, event.new):
            if entry:
                pins.update(entry.fields.items())
        for pin in pins:
            yield from list(self._pinned.get(pin, ()))

    def _remember(self, event: Event) -> None:
        events = self._events
        events.append(event)
        if len(events) > KEEP_ENCODED:
            events[-KEEP_ENCODED].forget()
        if len(events) < 2 * KEEP_AT_LEAST or len(events) % KEEP_AT_LEAST:
            return
        horizon = event.time - KEEP_SECONDS
        drop = bisect_left(events, horizon, key=attrgetter("time"))
        drop = max(min(drop, len(events) - KEEP_AT_LEAST), len(events) - KEEP_AT_MOST)
        if drop > 0:
            self.floor = events[drop - 1].revision
            del events[:drop]
