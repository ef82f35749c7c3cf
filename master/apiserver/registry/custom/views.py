"""The objects of a custom kind as its versions show them: pruned, with defaults, converted; encoded once for everybody.

What is stored is in the watch cache's bucket. A version that somebody reads gets a bucket of its own, fed with every
change of the stored one in the same order and under the same revisions, its recent history included. A reader waits
until it has all that the stored one has; for whoever watches, a task keeps it current. A view ends, and all watches
of it, when its definition changes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apimachinery.errors import ApiError, NotFound
from apimachinery.logging import get_logger

from ...storage import codec
from ...storage.bucket import Bucket
from ...storage.entry import Entry, Event, FieldLabels
from ...storage.watcher import Watcher
from .conversion import Convert

Object = dict[str, Any]
Coerce = Callable[[Object], None]
_log = get_logger(__name__)

UNLIMITED = 2**62
"""What follows the cache inside of the server is never cut off."""
RETRY_SECONDS = 1.0


class Translation:
    """Stored objects in the form of one version. ``coerce`` has each version's own way to prune and fill in defaults,
    by apiVersion: before a conversion that of the version an object is of, after it that of the wanted one."""

    def __init__(self, api_version: str, convert: Convert, coerce: Mapping[str, Coerce], labels: FieldLabels) -> None:
        self.api_version, self.labels = api_version, labels
        self._convert, self._coerce = convert, coerce

    async def objects(self, objects: list[Object]) -> list[Object]:
        """Raises ApiError."""
        for obj in objects:
            self._settle(obj)
        foreign = [o["apiVersion"] != self.api_version for o in objects]
        if any(foreign):
            objects = await self._convert(objects, self.api_version)
        for obj, converted in zip(objects, foreign, strict=True):
            if converted:
                self._settle(obj)
        return objects

    def _settle(self, obj: Object) -> None:
        coerce = self._coerce.get(obj["apiVersion"])
        if coerce is not None:
            coerce(obj)

    async def entries(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that need no change are handed on as they are. Raises ApiError."""
        made = await self.objects([codec.decode(e.data) for e in entries])
        return [self._entry(e, o) for e, o in zip(entries, made, strict=True)]

    def _entry(self, entry: Entry, obj: Object) -> Entry:
        same = entry.peek() == obj
        if same and not self.labels:
            return entry
        made = Entry(entry.key, codec.encode(obj), entry.revision, self.labels)
        if same:
            made.data = entry.data
        return made


class View:
    """One version's bucket, which is empty until the first ``current``. Changes wait in ``_pending`` until they are
    converted: one that cannot be holds up those after it."""

    def __init__(self, stored: Bucket, translation: Translation) -> None:
        self._stored, self._translation = stored, translation
        self._bucket = Bucket(stored.floor, translation.labels)
        self._feed: Watcher | None = None
        self._pending: list[Event] = []
        self._lock = asyncio.Lock()
        self._pump: asyncio.Task[None] | None = None

    async def current(self) -> Bucket:
        """The bucket with all that the stored one has at this moment. Raises ApiError."""
        async with self._lock:
            if self._feed is None:
                self._feed = await self._fill()
            await self._catch_up(self._feed)
            if self._pump is None:
                self._pump = asyncio.create_task(self._follow(self._feed), name=f"view {self._translation.api_version}")
        return self._bucket

    def close(self) -> None:
        if self._feed is not None:
            self._feed.close()
        if self._pump is not None:
            self._pump.cancel()
        self._bucket.close()

    async def _fill(self) -> Watcher:
        """Begin with what there was before the first remembered change; the changes follow from the feed."""
        stored, feed = self._stored, Watcher(limit=UNLIMITED)
        floor, loaded, begin = stored.floor, stored.loaded, dict(stored.entries)
        stored.watch(feed, floor)
        for event in reversed(stored.events):
            if event.old is None:
                begin.pop(event.key, None)
            else:
                begin[event.key] = event.old
        try:
            entries = await self._translation.entries(list(begin.values()))
        except BaseException:
            feed.close()
            raise
        self._bucket = Bucket(floor, self._translation.labels)
        self._bucket.load(entries)
        self._bucket.loaded = loaded
        return feed

    async def _catch_up(self, feed: Watcher) -> None:
        while True:
            self._pending += (event for _, event in feed.take())
            if not self._pending:
                break
            made = iter(await self._translation.entries([e.new for e in self._pending if e.new]))
            for event in self._pending:
                self._bucket.put(event.key, next(made) if event.new else None, event.revision, event.time)
            self._pending.clear()
        if self._bucket.loaded < self._stored.loaded:
            self._bucket.forget(self._stored.loaded)

    async def _follow(self, feed: Watcher) -> None:
        """Keep whoever watches up to date."""
        while not feed.closed:
            await feed.wait()
            try:
                await self.current()
            except ApiError as error:
                _log.warning("Objects cannot be converted", version=self._translation.api_version, error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
        self._bucket.close()


class Views:
    """All versions of one custom kind, on the bucket that holds it."""

    def __init__(self, stored: Bucket) -> None:
        self.stored = stored
        self.translations: dict[str, Translation] = {}
        self._views: dict[str, View] = {}

    def serve(self, translations: Mapping[str, Translation]) -> None:
        """Serve these versions from now on, by name; who reads or watches the former ones starts again."""
        for view in self._views.values():
            view.close()
        self._views.clear()
        self.translations = dict(translations)

    async def current(self, version: str) -> Bucket:
        """Raises ApiError."""
        view = self._views.get(version)
        if view is None:
            view = self._views[version] = View(self.stored, self._translation(version))
        return await view.current()

    async def entries(self, version: str, entries: Sequence[Entry]) -> list[Entry]:
        """Objects of another time, as a version shows them. Raises ApiError."""
        return await self._translation(version).entries(entries)

    def _translation(self, version: str) -> Translation:
        translation = self.translations.get(version)
        if translation is None:  # it has been withdrawn while the request was on its way
            raise NotFound("the server could not find the requested resource")
        return translation
