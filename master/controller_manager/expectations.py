"""Waiting for one's own writes, so that a controller never acts on a store that does not show them yet.

A controller that has just created three pods and looks into a store that shows none of them would create
three more. Upstream counts the events it expects; here it is simpler, because resource versions are revisions
of one etcd: a creation is visible once the informer has reached its version, and a deletion once the object is
gone from the store, has another uid, or is being deleted. Nothing has to be counted and nothing can be
miscounted; the state is asked whenever it matters.

The informer's event for the write enqueues the owner again, as every event of a dependent does. What came and
went while the watch was cut off causes no event, so the owner is also looked at again after a while.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from apimachinery.client.informer import Informer
from apimachinery.client.workqueue import WorkQueue
from apimachinery.clock import Clock
from apimachinery.meta import Key, Object, is_deleting, key_of, uid_of, version_of

K = TypeVar("K", bound=Hashable)

TIMEOUT_SECONDS = 300.0
"""After this long an expectation is given up, as upstream: something else must have gone wrong."""

RECHECK_SECONDS = 10.0


@dataclass(slots=True)
class _Expected:
    since: float
    version: int = 0
    deleted: dict[Key, str] = field(default_factory=dict)  # key -> uid


class Expectations(Generic[K]):
    """What each owner (by key) waits for in one informer. ``queue`` is where owners wait for their reconcile."""

    def __init__(self, informer: Informer, queue: WorkQueue[K], clock: Clock) -> None:
        self._informer = informer
        self._queue = queue
        self._clock = clock
        self._expected: dict[K, _Expected] = {}

    def wrote(self, owner: K, result: Object) -> None:
        """``result`` is an object as a create, update or patch returned it."""
        expected = self._of(owner)
        expected.version = max(expected.version, version_of(result))

    def deleted(self, owner: K, obj: Object) -> None:
        """A delete of ``obj`` was accepted."""
        self._of(owner).deleted[key_of(obj)] = uid_of(obj)

    def satisfied(self, owner: K) -> bool:
        """Whether the store shows all that ``owner`` wrote (or that was long ago)."""
        expected = self._expected.get(owner)
        if expected is None:
            return True
        if expected.version > self._informer.version or any(self._there(k, u) for k, u in expected.deleted.items()):
            return self._clock.monotonic() - expected.since > TIMEOUT_SECONDS
        del self._expected[owner]
        return True

    def forget(self, owner: K) -> None:
        """The owner is gone."""
        self._expected.pop(owner, None)

    def _of(self, owner: K) -> _Expected:
        expected = self._expected.setdefault(owner, _Expected(0.0))
        expected.since = self._clock.monotonic()
        self._queue.add_after(owner, RECHECK_SECONDS)
        return expected

    def _there(self, key: Key, uid: str) -> bool:
        obj = self._informer.store.get(*key)
        return obj is not None and uid_of(obj) == uid and not is_deleting(obj)
