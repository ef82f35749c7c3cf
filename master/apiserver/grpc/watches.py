"""All watches of one client on one stream. One task sends what is ready of all of them, many events in one message.

An event is encoded once for all watches of all streams: only the watch's number goes before it, and messages are put
together from such pieces, as protobuf's wire format allows.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache

import grpc
import orjson

from apimachinery.errors import ApiError, Expired, InternalError
from apimachinery.logging import get_logger
from protos.kubeto.v1 import apiserver_pb2 as pb

from ..auth.user import User
from ..registry.pipeline import Target
from ..registry.read_options import WatchOptions
from ..registry.selection import Selection
from ..registry.store import Registry
from ..registry.strategy import Strategy
from ..storage.cache import WatchCache
from ..storage.entry import Encode, Event, EventType
from ..storage.watcher import Watcher

_log = get_logger(__name__)

BOOKMARK_SECONDS = 30.0
REPLY_BYTES = 256 * 1024
"""A reply is sent when its events exceed this: more would hold up the loop while they are encrypted."""

_TYPES = {"ADDED": pb.WatchEvent.ADDED, "MODIFIED": pb.WatchEvent.MODIFIED, "DELETED": pb.WatchEvent.DELETED}

Select = Callable[[pb.Selection], tuple[Target, Selection]]
Write = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True, eq=False)
class _Feed:
    """One open watch. ``number`` is its id as it stands before each event; ``quiet``: it has sent nothing lately."""

    number: bytes
    watcher: Watcher
    cache: WatchCache
    revision: int
    synced: bool
    encode: Encode
    quiet: bool = False


class WatchStream:
    """One client's stream. ``write`` sends a serialized WatchReply."""

    def __init__(self, registry: Registry, user: User, select: Select, write: Write) -> None:
        self._registry = registry
        self._user = user
        self._select = select
        self._write = write
        self._feeds: dict[int, _Feed] = {}
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._ready: dict[_Feed, None] = {}
        self._refused: list[bytes] = []
        self._wake = asyncio.Event()
        self._ended = False

    async def run(self, requests: AsyncIterator[pb.WatchRequest]) -> None:
        """Until the client ends the stream."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send_while_there(), name="watch stream")
                async for request in requests:
                    self._close(request.id)
                    if request.WhichOneof("action") == "open":
                        opening = asyncio.create_task(self._open(request), name=f"watch {request.id}")
                        self._opening[request.id] = opening
                self._ended = True  # a write under way is left to end: gRPC knows no other way to take it back
                self._wake.set()
        finally:
            for id_ in (*self._opening, *self._feeds):
                self._close(id_)

    def _close(self, id_: int) -> None:
        opening, feed = self._opening.pop(id_, None), self._feeds.pop(id_, None)
        if opening:
            opening.cancel()
        if feed:
            feed.watcher.on_ready = None
            feed.watcher.close()
            self._ready.pop(feed, None)

    async def _open(self, request: pb.WatchRequest) -> None:
        number = b"\x08" + _varint(request.id)
        try:
            target, selection = self._select(request.open)
            encode = _encoder(self._registry.catalog.strategy(target.kind))
            watch = await self._registry.watch(self._user, target, selection, WatchOptions(request.resource_version))
        except ApiError as refused:
            self._refuse(number, refused)
        except Exception:  # the boundary of one watch: the others of its stream go on
            _log.exception("Watch failed", resource=request.open.resource.resource)
            self._refuse(number, InternalError("Internal error occurred"))
        else:
            synced = bool(request.resource_version)
            feed = _Feed(number, watch.watcher, watch.cache, watch.cache.revision, synced, encode)
            self._feeds[request.id] = feed
            watch.watcher.on_ready = lambda: self._mark(feed)
            self._mark(feed)
        self._opening.pop(request.id, None)

    def _refuse(self, number: bytes, error: ApiError) -> None:
        self._refused += _framed(number, _encoded(pb.WatchEvent.ERROR, orjson.dumps(error.to_status()), 0))
        self._wake.set()

    def _mark(self, feed: _Feed) -> None:
        """Something is there to be sent of a watch, or it is closed."""
        self._ready[feed] = None
        self._wake.set()

    async def _send_while_there(self) -> None:
        try:
            await self._send_all()
        except grpc.aio.InternalError:
            return  # the client went away during a write; the stream of its requests ends, too

    async def _send_all(self) -> None:
        loop = asyncio.get_running_loop()
        bookmark_at = loop.time() + BOOKMARK_SECONDS
        while not self._ended:
            try:
                async with asyncio.timeout_at(bookmark_at):
                    await self._wake.wait()
            except TimeoutError:
                bookmark_at = loop.time() + BOOKMARK_SECONDS
                self._add_bookmarks()
            self._wake.clear()
            pieces, self._refused = self._refused, []
            size = 0
            while self._ready:
                feed = next(iter(self._ready))
                del self._ready[feed]
                size += self._take(feed, pieces)
                if size > REPLY_BYTES:
                    await self._write(b"".join(pieces))
                    await asyncio.sleep(0)
                    pieces, size = [], 0
            if pieces:
                await self._write(b"".join(pieces))

    def _take(self, feed: _Feed, pieces: list[bytes]) -> int:
        """Add what is next of a watch; how many bytes that is."""
        watcher, before, number = feed.watcher, len(pieces), feed.number
        feed.quiet = False
        for type_, event in watcher.some():
            pieces += _framed(number, event.encoded(type_, feed.encode))
        if not feed.synced and not watcher.starting:
            feed.synced = True
            pieces += _framed(number, _encoded(pb.WatchEvent.SYNCED, b"", feed.revision))
        if not watcher.idle:
            self._ready[feed] = None
        elif watcher.closed and watcher.on_ready:
            watcher.on_ready = None
            slow = Expired("the client is too slow, or the server stops: watch again")
            pieces += _framed(number, _encoded(pb.WatchEvent.ERROR, orjson.dumps(slow.to_status()), 0))
        return sum(map(len, pieces[before:]))

    def _add_bookmarks(self) -> None:
        """Tell those that have been quiet for a whole period how far they have come."""
        for feed in self._feeds.values():
            if feed.quiet and feed.watcher.idle and not feed.watcher.closed:
                self._refused += _framed(feed.number, _encoded(pb.WatchEvent.BOOKMARK, b"", feed.cache.revision))
            feed.quiet = True


def _encode(type_: EventType, event: Event) -> bytes:
    return _encoded(_TYPES[type_], event.payload(type_), event.revision)


def _encoder(strategy: Strategy) -> Encode:
    return _translating(strategy) if strategy.second_view else _encode


@lru_cache
def _translating(strategy: Strategy) -> Encode:
    """What encodes events as a second view; one for all streams, for what it makes is shared."""

    def encode(type_: EventType, event: Event) -> bytes:
        return _encoded(_TYPES[type_], strategy.shown_bytes(event.payload(type_)), event.revision)

    return encode


def _encoded(type_: pb.WatchEvent.Type, payload: bytes, revision: int) -> bytes:
    """A WatchEvent without its id."""
    return pb.WatchEvent(type=type_, json=payload, resource_version=revision).SerializeToString()


def _framed(number: bytes, event: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """One element of WatchReply.events."""
    return b"\x0a", _varint(len(number) + len(event)), number, event


@lru_cache(maxsize=4096)
def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
