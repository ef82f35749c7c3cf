"""All watches of a process on one stream.

Guarantees, per watch: events keep their order; after a break the watch goes on from the last version it saw,
so nothing is lost and nothing comes twice. A watch that broke before its initial events were complete starts
over, and says so with RESTARTED. What it cannot hide: a version that the server no longer has ends the watch
with ERROR 410; whoever holds state must then open anew without a version and compare.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import orjson

from apimachinery.backoff import Backoff
from apimachinery.client.types import BOOKMARK, ERROR, SYNCED, Rpc, WatchEvent
from apimachinery.errors import ApiError
from apimachinery.logging import get_logger
from protos.kubeto.v1 import apiserver_pb2 as pb

_log = get_logger(__name__)

RESTARTED = "RESTARTED"
"""Sent before the events of an open without a version: forget what came before SYNCED."""

_TYPES = {pb.WatchEvent.Type.Value(name): name for name in pb.WatchEvent.Type.keys()}  # noqa: SIM118

_Requests = asyncio.Queue[pb.WatchRequest | None]


class Subscription:
    """One watch. ``version`` is where it would go on, "" while its initial events are not complete."""

    def __init__(self, id_: int, selection: pb.Selection, version: str, deliver: Callable[[WatchEvent], None]) -> None:
        self.id = id_
        self.selection = selection
        self.version = version
        self.deliver = deliver
        self.initial = not version

    def request(self) -> pb.WatchRequest:
        return pb.WatchRequest(id=self.id, open=self.selection, resource_version=self.version)

    def take(self, event: WatchEvent) -> None:
        if event.type == SYNCED:
            self.initial = False
        if not self.initial and event.type != ERROR and event.resource_version != "0":
            self.version = event.resource_version
        self.deliver(event)


class WatchStream:
    """Opens and closes watches by id and keeps the stream under them alive."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._ids = itertools.count(1)
        self._watches: dict[int, Subscription] = {}
        self._requests: _Requests | None = None  # None while there is no stream
        self._task: asyncio.Task[None] | None = None

    def open(self, selection: pb.Selection, version: str, deliver: Callable[[WatchEvent], None]) -> Subscription:
        """Start a watch. ``deliver`` is called in the event loop for each event and must not block or raise.

        After an ERROR event the subscription is closed.
        """
        watch = Subscription(next(self._ids), selection, version, deliver)
        self._watches[watch.id] = watch
        if self._requests is not None:
            self._send_open(watch)
        elif self._task is None:
            self._task = asyncio.create_task(self._run(), name="watch-stream")
        return watch

    def close_watch(self, watch: Subscription) -> None:
        """No event is delivered after this. Closing twice does nothing."""
        if self._watches.pop(watch.id, None) is not None and self._requests is not None:
            self._requests.put_nowait(pb.WatchRequest(id=watch.id, close=True))

    async def close(self) -> None:
        self._watches.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _send_open(self, watch: Subscription) -> None:
        assert self._requests is not None  # noqa: S101 - callers checked
        if not watch.version:
            watch.deliver(WatchEvent(RESTARTED, None, "0"))
        self._requests.put_nowait(watch.request())

    async def _run(self) -> None:
        backoff = Backoff(initial=0.1, maximum=1.0)
        while True:
            try:
                await self._stream(backoff)
            except ApiError as error:
                if backoff.failures % 20 == 0:
                    _log.warning("Watch stream broke, opening it again", error=error.message)
            finally:
                self._requests = None
            await asyncio.sleep(backoff.next())

    async def _stream(self, backoff: Backoff) -> None:
        """Carry one stream until it breaks: raises ApiError."""
        requests: _Requests = asyncio.Queue()
        self._requests = requests
        for watch in list(self._watches.values()):
            self._send_open(watch)
        try:
            async for reply in self._rpc.watch(_drain(requests)):
                backoff.reset()
                self._dispatch(reply)
                await asyncio.sleep(0)  # a long initial list must not hold up the rest of the process
        finally:
            requests.put_nowait(None)  # ends the sender of this stream

    def _dispatch(self, reply: pb.WatchReply) -> None:
        for message in reply.events:
            watch = self._watches.get(message.id)
            if watch is None:  # closed while the event was on its way
                continue
            event = _event(message)
            if event.type == ERROR:
                del self._watches[watch.id]
            watch.take(event)


def _event(message: pb.WatchEvent) -> WatchEvent:
    type_ = _TYPES[message.type]
    obj = orjson.loads(message.json) if message.json and type_ not in {BOOKMARK, SYNCED} else None
    return WatchEvent(type_, obj, str(message.resource_version))


async def _drain(requests: _Requests) -> AsyncIterator[pb.WatchRequest]:
    while (request := await requests.get()) is not None:
        yield request
