"""All watches of one client on one stream: each is pumped by a task of its own, and they share the way out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson

from apimachinery.errors import ApiError, Expired, InternalError
from apimachinery.logging import get_logger
from protos.kubeto.v1 import apiserver_pb2 as pb

from ..auth.user import User
from ..registry.pipeline import Target
from ..registry.reads import Watch, WatchOptions
from ..registry.selection import Selection
from ..registry.store import Registry
from ..storage.entry import Event, EventType

_log = get_logger(__name__)

BOOKMARK_SECONDS = 30.0
REPLY_BYTES = 4 * 1024 * 1024
"""A reply is sent when its events exceed this: far below the message limit, for one object may be large."""

_TYPES = {"ADDED": pb.WatchEvent.ADDED, "MODIFIED": pb.WatchEvent.MODIFIED, "DELETED": pb.WatchEvent.DELETED}

Select = Callable[[pb.Selection], tuple[Target, Selection]]
Write = Callable[[pb.WatchReply], Awaitable[None]]


class WatchStream:
    """One client's stream."""

    def __init__(self, registry: Registry, user: User, select: Select, write: Write) -> None:
        self._registry = registry
        self._user = user
        self._select = select
        self._write = write
        self._writing = asyncio.Lock()
        self._pumps: dict[int, asyncio.Task[None]] = {}

    async def run(self, requests: AsyncIterator[pb.WatchRequest]) -> None:
        """Until the client ends the stream."""
        try:
            async for request in requests:
                pump = self._pumps.pop(request.id, None)
                if pump:
                    pump.cancel()
                if request.WhichOneof("action") == "open":
                    self._pumps[request.id] = asyncio.create_task(self._pump(request), name=f"watch {request.id}")
        finally:
            for pump in self._pumps.values():
                pump.cancel()
            await asyncio.gather(*self._pumps.values(), return_exceptions=True)

    async def _pump(self, request: pb.WatchRequest) -> None:
        try:
            target, selection = self._select(request.open)
            options = WatchOptions(request.resource_version)
            watch = await self._registry.watch(self._user, target, selection, options)
            try:
                await self._send_all(request.id, watch, initial=not request.resource_version)
            finally:
                watch.watcher.close()
            error: ApiError = Expired("the client is too slow, or the server stops: watch again")
        except ApiError as refused:
            error = refused
        except Exception:  # the boundary of one watch: the others of its stream go on
            _log.exception("Watch failed", resource=request.open.resource.resource)
            error = InternalError("Internal error occurred")
        await self._send([_event(request.id, pb.WatchEvent.ERROR, orjson.dumps(error.to_status()), 0)])

    async def _send_all(self, id_: int, watch: Watch, *, initial: bool) -> None:
        watcher, cache = watch.watcher, watch.cache
        if initial:
            revision = cache.revision
            while watcher.starting:
                await self._send_batch(id_, watcher.some())
                await asyncio.sleep(0)
            await self._send([_event(id_, pb.WatchEvent.SYNCED, b"", revision)])
        while not watcher.closed:
            batch = await watcher.batch(BOOKMARK_SECONDS)
            if batch:
                await self._send_batch(id_, batch)
            elif not watcher.closed and watcher.idle:
                await self._send([_event(id_, pb.WatchEvent.BOOKMARK, b"", cache.revision)])

    async def _send_batch(self, id_: int, batch: list[tuple[EventType, Event]]) -> None:
        events: list[pb.WatchEvent] = []
        size = 0
        for type_, event in batch:
            payload = event.payload(type_)
            if size + len(payload) > REPLY_BYTES and events:
                await self._send(events)
                events, size = [], 0
            events.append(_event(id_, _TYPES[type_], payload, event.revision))
            size += len(payload)
        if events:
            await self._send(events)

    async def _send(self, events: list[pb.WatchEvent]) -> None:
        async with self._writing:
            await self._write(pb.WatchReply(events=events))


def _event(id_: int, type_: pb.WatchEvent.Type, payload: bytes, revision: int) -> pb.WatchEvent:
    return pb.WatchEvent(id=id_, type=type_, json=payload, resource_version=revision)
