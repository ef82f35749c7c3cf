"""Get, list and watch, answered from the watch cache; and by etcd only what the cache cannot know: a past revision.

Versions, as in "Semantics for get and list" of the API concepts: "" is consistent, the
cache first reaches etcd's revision; "0" is whatever is cached; N is the cache once it has reached N, or with
``Exact`` the state at N.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from apimachinery.errors import BadRequest, ServiceUnavailable
from apimachinery.scheme import Kind

from ..storage.bucket import Bucket
from ..storage.cache import WatchCache
from ..storage.entry import Entry
from ..storage.interface import Compacted, Storage, Unavailable, Unreadable
from ..storage.keys import KeySpace, bucket_of, local_key
from ..storage.pages import Page, Room
from ..storage.watcher import Watcher
from . import refusals
from .catalog import Catalog
from .read_options import (
    ListOptions,
    WatchOptions,
    check_match,
    decode_token,
    encode_token,
    parse_version,
    wants_initial,
)
from .selection import Selection

Object = dict[str, Any]
_PAST_PAGE = 500
_SLICE = 2_000
"""Entries that are filtered before others get their turn: some two milliseconds."""


@dataclass(frozen=True, slots=True)
class Listing:
    """``remaining`` is None where upstream does not count: with selectors, or when nothing remains."""

    page: Page
    revision: int
    continue_token: str = ""
    remaining: int | None = None

    @property
    def entries(self) -> list[Entry]:
        return self.page.entries


@dataclass(slots=True)
class Watch:
    """An open watch. Once what ``watcher`` had at first is sent, a client that asked for it is told so with a bookmark
    of ``initial_revision`` (0 = it did not ask)."""

    watcher: Watcher
    initial_revision: int
    cache: WatchCache


class Reads:
    """Also the ``Reader`` of authorizers, admission plugins and allocators."""

    def __init__(self, storage: Storage, cache: WatchCache, keys: KeySpace, catalog: Catalog) -> None:
        self.cache = cache
        self._storage = storage
        self._keys = keys
        self._catalog = catalog
        self._buckets: dict[Kind, Bucket] = {}

    def bucket(self, kind: Kind) -> Bucket:
        bucket = self._buckets.get(kind)
        if bucket is None:
            bucket = self._buckets[kind] = self.cache.bucket(bucket_of(kind))
        return bucket

    async def shown(self, kind: Kind) -> Bucket:
        """The objects of a kind as its version shows them, which need not be as they are stored. Raises ApiError."""
        bucket = self.bucket(kind)
        return bucket if bucket.versions is None else await bucket.versions.current(kind.version)

    # The Reader protocol.

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        entry = self.bucket(kind).get(local_key(namespace, name))
        return entry.object if entry else None

    def list(self, kind: Kind, namespace: str = "") -> Iterator[Object]:
        return (entry.object for entry in self.bucket(kind).select(namespace))

    def version(self, kind: Kind) -> int:
        return self.bucket(kind).revision

    def on_change(self, kind: Kind, listener: Callable[[], None]) -> None:
        self.bucket(kind).listeners.append(listener)

    async def get_consistent(self, kind: Kind, namespace: str, name: str) -> Object | None:
        await self.reach("")
        return self.get(kind, namespace, name)

    # What requests ask.

    async def reach(self, resource_version: str) -> None:
        """Wait until the cache is as new as a request demands. Raises ServiceUnavailable or Timeout."""
        if resource_version == "0":
            return
        try:
            if not resource_version:
                await self.cache.fresh()
            else:
                await self.cache.wait_for(parse_version(resource_version))
        except Unavailable as error:
            raise ServiceUnavailable(f"the store does not answer: {error}", retry_after_seconds=1) from error
        except TimeoutError:
            wanted = parse_version(resource_version) if resource_version else self.cache.revision + 1
            raise refusals.version_too_large(wanted, self.cache.revision) from None

    async def entry(self, kind: Kind, namespace: str, name: str, resource_version: str = "") -> Entry:
        """Raises NotFound."""
        await self.reach(resource_version)
        self._refuse_unreadable(kind, local_key(namespace, name))
        entry = (await self.shown(kind)).get(local_key(namespace, name))
        if entry is None:
            raise refusals.not_found(kind, name)
        return entry

    def _refuse_unreadable(self, kind: Kind, prefix: str) -> None:
        """As upstream: a list that left something out would be taken for its deletion. Raises InternalError."""
        broken = self.bucket(kind).unreadable
        if broken and (told := [why for key, why in broken.items() if key.startswith(prefix)]):
            raise refusals.unreadable("; ".join(told[:10]))

    async def listing(self, kind: Kind, selection: Selection, options: ListOptions) -> Listing:
        """Raises Expired for a past that is gone, BadRequest for contradicting options, ServiceUnavailable, and
        InternalError for what is no object."""
        try:
            return await self._listing(kind, selection, options)
        except Unavailable as error:
            raise ServiceUnavailable(f"the store does not answer: {error}", retry_after_seconds=1) from error
        except Unreadable as error:
            raise refusals.unreadable(str(error)) from error

    async def _listing(self, kind: Kind, selection: Selection, options: ListOptions) -> Listing:
        if options.continue_token:
            return await self._continued(kind, selection, options)
        check_match(options)
        if options.resource_version_match == "Exact":
            try:
                return await self._at(kind, selection, parse_version(options.resource_version), "", options.limit)
            except Compacted:
                raise refusals.list_too_old() from None
        await self.reach(options.resource_version)
        self._refuse_unreadable(kind, f"{selection.namespace}/" if selection.namespace else "")
        return await self._now(await self.shown(kind), selection, "", options.limit)

    async def _now(self, bucket: Bucket, selection: Selection, start: str, limit: int, revision: int = 0) -> Listing:
        """A page of the cache's state, told to be of ``revision`` if nothing has changed since then."""
        key, told = (selection, start, limit), revision or self.cache.revision
        page = bucket.pages.get(key)
        if page is None:
            state = bucket.revision
            page = await self._found(bucket, selection, start, limit)
            if bucket.revision == state:
                bucket.pages.keep(key, page)
        return _listing(page, told, counted=not selection.filtered)

    @staticmethod
    async def _found(bucket: Bucket, selection: Selection, start: str, limit: int) -> Page:
        wanted, room = selection.listed(), bucket.pages.room
        if wanted is None:
            return Page(*bucket.page(selection.namespace, start, limit), room)
        entries, everything = list[Entry](), bucket.select(selection.namespace, start)
        for at in range(0, len(everything), _SLICE):
            if at:
                await asyncio.sleep(0)
            entries += [e for e in everything[at : at + _SLICE] if wanted(e)]
            if 0 < limit < len(entries):
                break
        return _cut(entries, limit, room)

    async def _at(self, kind: Kind, selection: Selection, revision: int, start: str, limit: int) -> Listing:
        """A page of the state at a past revision: the cache's, if the kind has not changed since; else etcd's."""
        if revision > self.cache.revision:
            await self.reach(str(revision))
        if revision < self.cache.compacted:
            raise Compacted(self.cache.compacted)
        bucket = await self.shown(kind)
        if bucket.revision <= revision and revision >= bucket.loaded:
            return await self._now(bucket, selection, start, limit, revision)
        entries = [e async for e in self._past(kind, selection, revision, start)]
        return _listing(_cut(entries, limit), revision, counted=not selection.filtered)

    async def _past(self, kind: Kind, selection: Selection, revision: int, start: str) -> AsyncIterator[Entry]:
        prefix = self._keys.root + bucket_of(kind)
        scope = f"{prefix}{selection.namespace}/" if selection.namespace else prefix
        labels, wanted = self.bucket(kind).field_labels, selection.wanted()
        versions = self.bucket(kind).versions
        key, more = max(prefix + start, scope), True
        while more:
            page = await self._storage.page(scope, start=key, limit=_PAST_PAGE, revision=revision)
            entries = [Entry(item.key[len(prefix) :], item.value, item.revision, labels) for item in page.items]
            for entry in entries if versions is None else await versions.entries(kind.version, entries):
                if wanted is None or wanted(entry):
                    yield entry
            more = page.more
            key = page.items[-1].key + "\0" if page.items else key

    async def _continued(self, kind: Kind, selection: Selection, options: ListOptions) -> Listing:
        if options.resource_version_match:
            raise BadRequest("resourceVersionMatch is forbidden when continue is provided")
        if options.resource_version not in ("", "0"):
            raise BadRequest("specifying resource version is not allowed when using continue")
        revision, start = decode_token(options.continue_token)
        if revision < 0:  # a token given with a 410: go on from its key in whatever is there now
            await self.reach("")
            return await self._now(await self.shown(kind), selection, start, options.limit)
        try:
            return await self._at(kind, selection, revision, start, options.limit)
        except Compacted:
            raise refusals.continue_too_old(encode_token(-1, start)) from None

    async def watch(self, kind: Kind, selection: Selection, options: WatchOptions) -> Watch:
        """Open a watch. Raises Expired (too old), BadRequest, Timeout."""
        initial = wants_initial(options)
        watcher = Watcher(selection.accept(), selection.pin)
        if not initial and options.resource_version not in ("", "0"):
            version = parse_version(options.resource_version)
            if version > self.cache.revision:
                await self.reach(options.resource_version)
            self._register(await self.shown(kind), watcher, version)
            return Watch(watcher, 0, self.cache)
        asked = options.send_initial_events
        await self.reach(options.resource_version if asked or options.resource_version == "0" else "")
        bucket = await self.shown(kind)
        if initial:
            self._refuse_unreadable(kind, f"{selection.namespace}/" if selection.namespace else "")
            watcher.start_with(bucket.select(selection.namespace))
        self._register(bucket, watcher, self.cache.revision)
        return Watch(watcher, self.cache.revision if asked else 0, self.cache)

    @staticmethod
    def _register(bucket: Bucket, watcher: Watcher, version: int) -> None:
        try:
            bucket.watch(watcher, version)
        except Compacted as gone:
            raise refusals.watch_too_old(version, gone.revision) from None


def _cut(entries: list[Entry], limit: int, room: Room | None = None) -> Page:
    end = limit if limit > 0 else len(entries)
    return Page(entries[:end], max(len(entries) - end, 0), room)


def _listing(page: Page, revision: int, *, counted: bool) -> Listing:
    if not page.remaining:
        return Listing(page, revision)
    token = encode_token(revision, page.entries[-1].key + "\0")
    return Listing(page, revision, token, page.remaining if counted else None)
