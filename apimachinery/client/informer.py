"""Indexed local copies of what the API server holds, kept up to date by watches.

Guarantees: a handler sees, for each object, ADDED, then MODIFIED any number of times, then DELETED, in the
order of the server's versions, and the store already shows the change when a handler runs. After a break that
was too long to bridge (410), the store is compared with a fresh list, and handlers see exactly the
difference; an object that was deleted and made again in between is DELETED and ADDED.

What it cannot see: states that came and went while it was cut off. Objects in a store are shared by all
readers: never mutate them.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

from apimachinery import errors
from apimachinery.backoff import Backoff
from apimachinery.client.api import ApiClient
from apimachinery.client.store import IndexFunction, Store
from apimachinery.client.types import ADDED, DELETED, ERROR, MODIFIED, SYNCED, WatchEvent
from apimachinery.client.watch import RESTARTED, Subscription
from apimachinery.clock import Clock, SystemClock, Timer
from apimachinery.logging import get_logger
from apimachinery.meta import Key, Object, key_of, uid_of
from apimachinery.scheme import Kind

_log = get_logger(__name__)

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
Handler = Callable[[EventType, Object | None, Object | None], None]
Transform = Callable[[Object], Object]


def drop_managed_fields(obj: Object) -> Object:
    """The usual transform: managedFields are often half of an object and no controller reads them.

    The server keeps the stored ones when an update comes without them.
    """
    obj["metadata"].pop("managedFields", None)
    return obj


class Informer:
    """One watched selection. Get it from an ``InformerFactory``."""

    def __init__(
        self,
        client: ApiClient,
        kind: Kind,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        transform: Transform = drop_managed_fields,
        clock: Clock | None = None,
    ) -> None:
        self.kind = kind
        self.store = Store()
        self.version = 0
        """Every change up to this resource version (within the selection) is in the store."""
        self._client = client
        self._selection = {
            "namespace": namespace,
            "label_selector": label_selector,
            "field_selector": field_selector,
        }
        self._transform = transform
        self._clock: Clock = clock or SystemClock()
        self._handlers: list[Handler] = []
        self._listed: set[Key] | None = None  # while initial events arrive: the keys seen so far
        self._synced = asyncio.Event()
        self._watch: Subscription | None = None
        self._retry: Timer | None = None
        self._backoff = Backoff(initial=0.1, maximum=10.0)

    @property
    def synced(self) -> bool:
        """Whether the store has been complete once."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    def add_index(self, name: str, function: IndexFunction) -> None:
        self.store.add_index(name, function)

    def add_handler(self, handler: Handler) -> None:
        """``handler(event, old, new)`` is called in the event loop: it enqueues keys and returns.

        What the store holds already is reported to it as ADDED at once.
        """
        self._handlers.append(handler)
        for obj in self.store.list():
            self._call(handler, "ADDED", None, obj)

    def start(self) -> None:
        if self._watch is None:
            self._watch = self._client.subscribe(self.kind, self._take, **self._selection)

    def stop(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        if self._watch is not None:
            self._client.unsubscribe(self._watch)
            self._watch = None

    def _take(self, event: WatchEvent) -> None:
        if event.type in {ADDED, MODIFIED} and event.object is not None:
            self._put(self._transform(event.object))
        elif event.type == DELETED and event.object is not None:
            self._delete(key_of(event.object), self._transform(event.object))
        elif event.type == RESTARTED:
            self._listed = set()
        elif event.type == SYNCED:
            self._complete()
        elif event.type == ERROR:
            self._reopen(errors.from_status(event.object or {}))
        if self._listed is None:
            self.version = max(self.version, int(event.resource_version))

    def _put(self, new: Object) -> None:
        key = key_of(new)
        if self._listed is not None:
            self._listed.add(key)
        old = self.store.get(*key)
        if old is not None and uid_of(old) != uid_of(new):
            self._delete(key, old)
            old = None
        if old is None:
            self.store.put(new)
            self._notify("ADDED", None, new)
        elif old["metadata"].get("resourceVersion") != new["metadata"].get("resourceVersion"):
            self.store.put(new)
            self._notify("MODIFIED", old, new)

    def _delete(self, key: Key, last: Object) -> None:
        """``last`` is the final state: handlers get it, for it may differ from the one stored."""
        if self.store.remove(key) is not None:
            self._notify("DELETED", last, None)

    def _complete(self) -> None:
        listed, self._listed = self._listed, None
        if listed is not None:
            for key in set(self.store.keys()) - listed:
                old = self.store.get(*key)
                if old is not None:
                    self._delete(key, old)
        self._backoff.reset()
        self._synced.set()

    def _reopen(self, error: errors.ApiError) -> None:
        """Start again from a fresh list: at once after a first 410, with back-off after anything else."""
        self._watch = None
        if isinstance(error, errors.Expired) and not self._backoff.failures:
            self._backoff.next()
            self.start()
            return
        _log.warning("Watch refused, trying again", resource=self.kind.group_resource, error=error.message)
        self._retry = self._clock.call_later(self._backoff.next(), self.start)

    def _notify(self, event: EventType, old: Object | None, new: Object | None) -> None:
        for handler in self._handlers:
            self._call(handler, event, old, new)

    def _call(self, handler: Handler, event: EventType, old: Object | None, new: Object | None) -> None:
        try:
            handler(event, old, new)
        except Exception:  # one handler's fault must not stop the others' events
            _log.exception("Informer handler failed", resource=self.kind.group_resource, event=event)


class InformerFactory:
    """The informers of a process: the same arguments give the same informer, so all share one copy."""

    def __init__(self, client: ApiClient, *, clock: Clock | None = None) -> None:
        self._client = client
        self._clock = clock
        self._informers: dict[tuple[Kind, str, str, str, Transform], Informer] = {}
        self._running = False

    def informer(
        self,
        kind: Kind,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        transform: Transform = drop_managed_fields,
    ) -> Informer:
        """``transform`` may change the object before it is stored (it owns it); another one, another informer."""
        key = (kind, namespace, label_selector, field_selector, transform)
        informer = self._informers.get(key)
        if informer is None:
            informer = self._informers[key] = Informer(
                self._client,
                kind,
                namespace=namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                transform=transform,
                clock=self._clock,
            )
            if self._running:
                informer.start()
        return informer

    def existing(self, kind: Kind) -> Informer | None:
        """The informer over all whole objects of ``kind``, if someone has asked for it."""
        return self._informers.get((kind, "", "", "", drop_managed_fields))

    def drop(self, informer: Informer) -> None:
        """Stop watching and forget it: for kinds that come and go."""
        informer.stop()
        self._informers = {k: i for k, i in self._informers.items() if i is not informer}

    async def run(self) -> None:
        """Watch until cancelled. Informers made later are watched from then on."""
        self._running = True
        try:
            for informer in self._informers.values():
                informer.start()
            await asyncio.get_running_loop().create_future()
        finally:
            self._running = False
            for informer in self._informers.values():
                informer.stop()

    async def wait_synced(self) -> None:
        """Until every informer made so far has had its initial list."""
        for informer in list(self._informers.values()):
            await informer.wait_synced()
