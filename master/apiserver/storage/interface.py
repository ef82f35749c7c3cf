"""The few verbs that the API server needs of a store, and what goes in and out of them.

A store is a map of keys to bytes with one revision counter that every commit raises by one. Keys are str, and are
compared bytewise. ``etcd.py`` is the real one.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """A value and the revision of its last change."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Put:
    """Store a value. ``expected`` is the revision that must be there: 0 = the key must be absent, None = whatever.

    With ``ttl_seconds`` the key vanishes by itself that long after, or up to a minute later.
    """

    key: str
    value: bytes
    expected: int | None = None
    ttl_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key, if its revision is still ``expected`` (None = whatever is there)."""

    key: str
    expected: int | None = None


Op = Put | Delete


@dataclass(frozen=True, slots=True)
class Change:
    """One change as a watch tells it; ``value`` is None for a removal. Changes of one commit share a revision."""

    key: str
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a range, in key order, as it was at ``revision``. ``count`` is the whole range's size."""

    items: list[Stored]
    revision: int
    more: bool
    count: int


class Mismatch(Exception):
    """A commit found another revision than expected and changed nothing. ``current`` tells what is there."""

    def __init__(self, current: dict[str, Stored | None]) -> None:
        super().__init__(f"another revision at {sorted(current)}")
        self.current = current


class Compacted(Exception):
    """The revision asked for is behind ``revision``, the oldest that the store still knows (0 = not told)."""

    def __init__(self, revision: int = 0) -> None:
        super().__init__(f"compacted up to {revision}")
        self.revision = revision


class Unreadable(Exception):
    """What is stored under a key is no object: somebody else has written it."""

    def __init__(self, key: str, why: object) -> None:
        super().__init__(f"unable to decode {key!r}: {why}")


class TooLarge(Exception):
    """The store does not take a value of this size."""


class Unavailable(Exception):
    """The store does not answer. A write may or may not have happened."""


class Storage(Protocol):
    """Every verb raises Unavailable when the store cannot be reached in time."""

    async def get(self, key: str) -> Stored | None:
        """The value as of now: a linearizable read."""
        ...

    async def page(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Keys under ``prefix`` from ``start`` on, at a past revision if one is given. Raises Compacted."""
        ...

    async def commit(self, ops: Sequence[Op]) -> int:
        """Carry out all or none, as one revision, which is returned. Raises Mismatch, TooLarge."""
        ...

    async def revision(self) -> int:
        """The store's revision now: everything committed before the call is at or below it."""
        ...

    def watch(self, prefix: str, after: int) -> AsyncIterator[list[Change]]:
        """Changes after a revision, in order, whole commits at a time. Raises Compacted; Unavailable when it breaks."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget what lies behind ``revision``."""
        ...
