"""The watch cache: all of the store's objects in memory, kept current by one watch on the whole prefix.

It guarantees: changes arrive in the store's order, each once; when the watch breaks it goes on from the last revision,
and when that has been compacted it lists again and turns the difference into changes (what lay in between is lost, the
end state is not). It cannot see revisions that other users of the same etcd make outside the prefix: ``fresh`` then
makes one inside.

What this process writes itself is taken in at once where no other revision is missing before it. The watch brings
one message in two passes of the event loop: beside a client that writes as fast as it can, it falls seconds behind, and
with it every consistent read.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence

from apimachinery.logging import get_logger

from .bucket import Bucket
from .entry import Entry, FieldLabels
from .interface import Change, Compacted, Op, Put, Storage, Stored, Unavailable, Unreadable
from .keys import KeySpace

_log = get_logger(__name__)

PAGE = 1_000
COMPACTION_KEY = "kubeto/compaction/next"
NUDGE_AFTER = 0.05
_OWN_AHEAD = 256
RETRY = 0.2


class WatchCache:
    """``revision``: every change up to it is in; it never goes back. ``ready`` is set once the first list is in."""

    def __init__(self, storage: Storage, keys: KeySpace, field_labels: Callable[[str], FieldLabels]) -> None:
        self.revision = 0
        self.ready = asyncio.Event()
        self.compacted = 0
        self._next_compaction = 0
        self._storage = storage
        self._keys = keys
        self._field_labels = field_labels
        self._buckets: dict[str, Bucket] = {}
        self._floor = 0
        self._own: dict[int, list[Change]] = {}
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._counter = 0
        self._given_up = 0
        self._odd: list[tuple[str, str, bytes, int]] = []
        self._question: asyncio.Task[None] | None = None
        self._next_question: asyncio.Future[int] | None = None

    def bucket(self, name: str) -> Bucket:
        """The objects whose keys begin with ``name``, such as ``apps/deployments/``."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self._floor, self._field_labels(name))
        return bucket

    @property
    def buckets(self) -> dict[str, Bucket]:
        return self._buckets

    async def run(self) -> None:
        """Keep the cache current, for ever."""
        while True:
            try:
                if not self.ready.is_set():
                    await self._load()
                async for changes in self._storage.watch(self._keys.root, self.revision):
                    self._take(changes)
            except Compacted:
                _log.warning("Watch is behind the compaction: listing again")
                await self._again(self._relist)
            except Unavailable as error:
                _log.warning("Watch on etcd broke", error=str(error))
                await asyncio.sleep(RETRY)

    async def fresh(self) -> None:
        """Return when the cache has all that was committed before the call. Raises Unavailable."""
        await self.wait_for(await self._ask())

    async def wait_for(self, revision: int, timeout: float = 3.0) -> None:
        """Wait until the cache has reached a revision. Raises TimeoutError after ``timeout`` seconds."""
        if revision <= self.revision:
            return
        future = asyncio.get_running_loop().create_future()
        self._counter += 1
        heapq.heappush(self._waiting, (revision, self._counter, future))
        try:
            done, _ = await asyncio.wait([future], timeout=NUDGE_AFTER)
            if not done:
                async with asyncio.timeout(timeout):
                    await self._nudge(revision)
                    await future
        finally:
            if not future.done() or future.cancelled():
                future.cancel()
                self._forget_waiter()

    def _forget_waiter(self) -> None:
        """Who waits for a far revision in vain is not kept until it comes."""
        self._given_up += 1
        if self._given_up * 2 > len(self._waiting):
            self._waiting = [w for w in self._waiting if not w[2].done()]
            heapq.heapify(self._waiting)
            self._given_up = 0

    def committed(self, ops: Sequence[Op], revision: int) -> None:
        """Learn of a transaction of this process. It waits here for those before it, which may be other processes'."""
        if revision <= self.revision:
            return
        self._own[revision] = [Change(op.key, op.value if isinstance(op, Put) else None, revision) for op in ops]
        while (changes := self._own.pop(self.revision + 1, None)) is not None:
            self._take(changes)
        if len(self._own) > _OWN_AHEAD:
            self._own = {r: changes for r, changes in self._own.items() if r > self.revision}

    async def _ask(self) -> int:
        """The store's revision. Who comes while a question is under way shares the next one."""
        if self._next_question is None:
            self._next_question = asyncio.get_running_loop().create_future()
            if self._question is None:
                self._question = asyncio.create_task(self._put_questions())
        return await asyncio.shield(self._next_question)

    async def _put_questions(self) -> None:
        while (asked := self._next_question) is not None:
            self._next_question = None
            try:
                revision = await self._storage.revision()
            except Unavailable as error:
                later, self._next_question = self._next_question, None
                for failed in (asked, later):  # who came meanwhile need not wait to learn the same
                    if failed is not None and not failed.cancelled():
                        failed.set_exception(error)
                        failed.exception()  # whoever waits gets it; nobody may be left to
            else:
                asked.set_result(revision)
        self._question = None

    async def _nudge(self, revision: int) -> None:
        """Make a revision inside the prefix: ``revision`` may belong to a key outside, whose event never comes. One
        that is still to come is none of ours to make."""
        if self.revision < revision <= await self._storage.revision():
            nudge = Put(self._keys.root + "kubeto/nudge/revision", b"%d" % revision)
            self.committed([nudge], await self._storage.commit([nudge]))

    async def _load(self) -> None:
        """The first list, page by page at one revision."""
        found: dict[str, list[Entry]] = {}
        start, revision, more = "", 0, True
        while more:
            page = await self._storage.page(self._keys.root, start=start, limit=PAGE, revision=revision)
            revision, more = page.revision, page.more
            for item in page.items:
                bucket, local = self._keys.split(item.key)
                if _is_object(bucket, local):
                    self._read(found.setdefault(bucket, []), bucket, local, item)
                elif item.key.endswith(COMPACTION_KEY):
                    self._next_compaction = noted_revision(item.value)
            if page.items:
                start = page.items[-1].key + "\0"
        self._floor = revision
        for name, entries in found.items():
            self.bucket(name).load(entries)
        for name, local, value, at in self._odd:
            self.bucket(name).change(local, value, at)
        self._odd.clear()
        self._advance(revision)
        self.ready.set()

    def _read(self, entries: list[Entry], bucket: str, local: str, item: Stored) -> None:
        try:
            entries.append(Entry(local, item.value, item.revision, self._field_labels(bucket)))
        except Unreadable:
            self._odd.append((bucket, local, item.value, item.revision))

    async def _relist(self) -> None:
        """List again and turn what differs into changes, in the order of their revisions."""
        changes, seen, start, revision, more = list[Change](), set[str](), "", 0, True
        while more:
            page = await self._storage.page(self._keys.root, start=start, limit=PAGE, revision=revision)
            revision, more = page.revision, page.more
            changes.extend(Change(i.key, i.value, i.revision) for i in page.items if i.revision > self.revision)
            seen.update(i.key for i in page.items)
            if page.items:
                start = page.items[-1].key + "\0"
        for name, bucket in self._buckets.items():
            gone = (key for local in bucket.entries if (key := self._keys.root + name + local) not in seen)
            changes.extend(Change(key, None, revision) for key in gone)
        self._take(sorted(changes, key=lambda c: c.revision))
        self._advance(revision)
        self._floor = revision
        for bucket in self._buckets.values():
            bucket.forget(revision)

    async def _again(self, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await action()
            except (Unavailable, Compacted) as error:
                _log.warning("Listing etcd failed", error=str(error))
                await asyncio.sleep(RETRY)
            else:
                return

    def _take(self, changes: list[Change]) -> None:
        for change in changes:
            if change.revision <= self.revision:
                continue  # it is our own and was taken in when it was committed
            name, local = self._keys.split(change.key)
            if _is_object(name, local):
                self.bucket(name).change(local, change.value, change.revision)
            elif change.key.endswith(COMPACTION_KEY):
                # It holds how far the next compaction goes; that it changes means that the last one has been done.
                self.compacted, self._next_compaction = self._next_compaction, noted_revision(change.value)
        if changes:
            self._advance(changes[-1].revision)

    def _advance(self, revision: int) -> None:
        self.revision = max(self.revision, revision)
        while self._waiting and self._waiting[0][0] <= self.revision:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)


def noted_revision(value: bytes | None) -> int:
    """The revision under ``COMPACTION_KEY``; 0 for what somebody else may have written there."""
    return int(value) if value and value.isdigit() and len(value) < 20 else 0


def _is_object(bucket: str, local: str) -> bool:
    """Keys under ``kubeto/`` and ``ranges/`` are our own bookkeeping, not objects; nor are those that are no text."""
    return bool(local) and not bucket.startswith(("kubeto/", "ranges/")) and (local.isascii() or _is_text(local))


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
