"""Watch responses: frames of the cache, sent on as they are; bookmarks; and an end after a while."""

import asyncio
import random
from typing import Any

import orjson

from apimachinery.errors import ApiError, Expired
from apimachinery.scheme import Kind

from ..registry.pipeline import Target
from ..registry.read_options import WatchOptions
from ..registry.reads import Watch
from ..registry.selection import Selection
from ..registry.store import Registry
from ..storage.entry import Event, EventType
from . import metrics, shapes
from .negotiation import Wanted
from .request import Request
from .respond import start_stream

Object = dict[str, Any]

MIN_SECONDS = 1800
"""A watch without timeoutSeconds lasts this long to twice as long, at random, as upstream: forgotten ones end."""
MAX_SECONDS = 30 * 86_400
BOOKMARK_SECONDS = 60.0
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


async def serve_watch(
    request: Request, registry: Registry, target: Target, selection: Selection, wanted: Wanted
) -> None:
    """Open the watch and stream it until it ends. Raises ApiError before the first byte."""
    request.watching = True
    options = WatchOptions(
        request.query.get("resourceVersion", ""),
        request.query.get("resourceVersionMatch", ""),
        request.flag("sendInitialEvents"),
        bool(request.flag("allowWatchBookmarks")),
    )
    asked = request.number("timeoutSeconds") or random.randint(MIN_SECONDS, 2 * MIN_SECONDS)  # noqa: S311
    timeout = min(asked, MAX_SECONDS)
    try:
        watch = await registry.watch(request.user, target, selection, options)
    except Expired as expired:  # upstream tells this in the stream, and some clients look for it only there
        await start_stream(request)
        await request.send({"type": "http.response.body", "body": error_frame(expired), "more_body": False})
        return
    stream = _Stream(request, target.kind, watch, _Frames(registry, target.kind, wanted, request), options.bookmarks)
    gone = asyncio.create_task(_client_gone(request, watch))
    open_watches = metrics.open_watches(request)
    open_watches.inc()
    try:
        await start_stream(request)
        await stream.run(timeout)
        await request.send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        open_watches.dec()
        gone.cancel()
        watch.watcher.close()


async def _client_gone(request: Request, watch: Watch) -> None:
    """uvicorn drops what is sent to a client that went away, so its going is what ends the watch."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    watch.watcher.close()


class _Frames:
    """Events as lines, in the shape that the client wants."""

    def __init__(self, registry: Registry, kind: Kind, wanted: Wanted, request: Request) -> None:
        self._strategy = registry.catalog.strategy(kind)
        self._wanted = wanted
        self._query = request.query
        self._first = True

    def join(self, batch: list[tuple[EventType, Event]]) -> bytes:
        if not self._wanted.shape and not self._strategy.second_view:
            return b"".join([event.frame(type_) for type_, event in batch])
        return b"".join([self._shaped(type_, event) for type_, event in batch])

    def _shaped(self, type_: EventType, event: Event) -> bytes:
        obj = orjson.loads(event.payload(type_))
        if not self._wanted.shape:
            shape = self._strategy.shown(obj)
        else:
            shape = shapes.of_object(self._strategy, self._wanted, obj, self._query)
        if self._wanted.shape == "Table" and not self._first:
            shape["columnDefinitions"] = None  # told once, in the first event
        self._first = False
        return b'{"type":"%b","object":%b}\n' % (type_.encode(), orjson.dumps(shape))


class _Stream:
    """One response under way."""

    def __init__(self, request: Request, kind: Kind, watch: Watch, frames: _Frames, bookmarks: bool) -> None:
        self._request, self._kind, self._watch = request, kind, watch
        self._frames = frames
        self._bookmarks = bookmarks

    async def run(self, seconds: float) -> None:
        """Send events until the time is over or the watcher is closed."""
        loop = asyncio.get_running_loop()
        watcher = self._watch.watcher
        end = loop.time() + seconds
        bookmark_at = loop.time() + BOOKMARK_SECONDS if self._bookmarks else end
        while watcher.starting:
            await self._send(self._frames.join(watcher.some()))
            await asyncio.sleep(0)
        if self._watch.initial_revision:
            await self._send(self._bookmark(self._watch.initial_revision, {INITIAL_EVENTS_END: "true"}))
        if self._request.ticket:
            self._request.ticket.leave()
        while not watcher.closed and ((now := loop.time()) < end or not watcher.idle):
            batch = await watcher.batch(max(0.0, min(end, bookmark_at) - now))
            if batch:
                await self._send(self._frames.join(batch))
            if loop.time() >= end:
                break  # one more look at what was there already is all that a short watch gets
            if not watcher.idle:
                await asyncio.sleep(0)
            if self._bookmarks and loop.time() >= bookmark_at and watcher.idle:
                bookmark_at = loop.time() + BOOKMARK_SECONDS
                await self._send(self._bookmark(self._watch.cache.revision))

    async def _send(self, data: bytes) -> None:
        if data:
            await self._request.send({"type": "http.response.body", "body": data, "more_body": True})

    def _bookmark(self, revision: int, annotations: dict[str, str] | None = None) -> bytes:
        """Everything up to ``revision`` has been sent."""
        metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        obj = {"kind": self._kind.kind, "apiVersion": self._kind.api_version, "metadata": metadata}
        return orjson.dumps({"type": "BOOKMARK", "object": obj}) + b"\n"


def error_frame(error: ApiError) -> bytes:
    return orjson.dumps({"type": "ERROR", "object": error.to_status()}) + b"\n"
