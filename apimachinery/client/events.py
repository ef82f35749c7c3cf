"""Events: what happened to an object, for people to read. Never blocks and never fails its caller.

Repeats are counted on the Event that is there already; many Events of one reason that differ in their text
become one "combined" Event; each object has an allowance, so that a fault in a loop cannot flood the server.
Numbers as in ``client-go/tools/record``.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from apimachinery.backoff import Backoff
from apimachinery.client.api import ApiClient, Results, Write
from apimachinery.clock import Clock, SystemClock
from apimachinery.errors import ApiError, NotFound, ServiceUnavailable
from apimachinery.logging import get_logger
from apimachinery.meta import Object, format_time, name_of, namespace_of, uid_of
from apimachinery.scheme import CORE_EVENTS

_log = get_logger(__name__)

_QUEUE_LIMIT = 1000
_BATCH = 50
_ATTEMPTS = 10
_CLOSE_SECONDS = 3.0
_CACHE = 4096  # objects and texts remembered
_SIMILAR_LIMIT, _SIMILAR_SECONDS = 10, 600.0
_BURST, _REFILL_SECONDS = 25.0, 300.0
_MESSAGE_LIMIT = 1024


@dataclass(slots=True)
class _Allowance:
    tokens: float
    at: float


@dataclass(slots=True)
class _Similar:
    since: float
    texts: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Sent:
    name: str
    count: int


Identity = tuple[str, ...]
_V = TypeVar("_V")


class EventRecorder:
    """Records events of one component. ``host`` is the node, for components that run on one."""

    def __init__(self, client: ApiClient, component: str, host: str = "", *, clock: Clock | None = None) -> None:
        self._client = client
        self._source = {"component": component, **({"host": host} if host else {})}
        self._clock: Clock = clock or SystemClock()
        self._queue: deque[tuple[Identity, Object]] = deque()
        self._drain: asyncio.Task[None] | None = None
        self._allowances: OrderedDict[Identity, _Allowance] = OrderedDict()
        self._similar: OrderedDict[Identity, _Similar] = OrderedDict()
        self._sent: OrderedDict[Identity, _Sent] = OrderedDict()
        self._last_stamp = 0  # names end in a time in nanoseconds, each a different one
        self.dropped = 0

    def event(self, obj: Mapping[str, Any], type_: str, reason: str, message: str) -> None:
        """Record that ``reason`` happened to ``obj``, which has its apiVersion and kind.

        ``type_`` is Normal or Warning. ``obj`` may have the ``fieldPath`` of that part of it that is meant.
        """
        part = str(obj.get("fieldPath", ""))
        about = (str(obj.get("kind", "")), namespace_of(obj), name_of(obj), uid_of(obj), part)
        group = (*about, type_, reason)
        message = message[:_MESSAGE_LIMIT]
        identity: Identity = (*group, message)
        if self._too_many_texts(group, message):
            message, identity = f"(combined from similar events): {message}", group
        if not self._allowed(about) or len(self._queue) >= _QUEUE_LIMIT:
            self.dropped += 1
            return
        self._queue.append((identity, self._new(obj, type_, reason, message)))
        if self._drain is None:
            self._drain = asyncio.get_running_loop().create_task(self._send_all(), name="events")

    async def close(self) -> None:
        """Wait until what is queued is sent (or has failed), for a few seconds at most."""
        drain = self._drain
        if drain is not None:
            await asyncio.wait({drain}, timeout=_CLOSE_SECONDS)
            drain.cancel()

    def _too_many_texts(self, group: Identity, message: str) -> bool:
        """Whether this object had this reason with many other texts lately."""
        now = self._clock.monotonic()
        similar = _recent(self._similar, group)
        if similar is None or now - similar.since > _SIMILAR_SECONDS:
            similar = self._similar[group] = _Similar(now)
        if message not in similar.texts and len(similar.texts) >= _SIMILAR_LIMIT:
            return True
        similar.texts.add(message)
        return False

    def _allowed(self, about: Identity) -> bool:
        now = self._clock.monotonic()
        allowance = _recent(self._allowances, about)
        if allowance is None:
            allowance = self._allowances[about] = _Allowance(_BURST, now)
        allowance.tokens = min(_BURST, allowance.tokens + (now - allowance.at) / _REFILL_SECONDS)
        allowance.at = now
        if allowance.tokens < 1:
            return False
        allowance.tokens -= 1
        return True

    def _new(self, obj: Mapping[str, Any], type_: str, reason: str, message: str) -> Object:
        moment = self._clock.now()
        now = format_time(moment)
        self._last_stamp = max(self._last_stamp + 1, int(moment.timestamp() * 1e9))
        namespace = namespace_of(obj) or "default"
        involved = {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "namespace": namespace_of(obj)}
        involved |= {
            "name": name_of(obj),
            "uid": uid_of(obj),
            "resourceVersion": obj["metadata"].get("resourceVersion"),
            "fieldPath": obj.get("fieldPath"),
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name_of(obj)}.{self._last_stamp:x}", "namespace": namespace},
            "involvedObject": {k: v for k, v in involved.items() if v},
            "type": type_,
            "reason": reason,
            "message": message,
            "source": self._source,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._source.get("host", ""),
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }

    async def _send_all(self) -> None:
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
                await self._send(batch)
        finally:
            self._drain = None

    async def _send(self, batch: list[tuple[Identity, Object]]) -> None:
        writes = [self._write(identity, event) for identity, event in batch]
        try:
            results = await self._try(writes)
        except ApiError as error:
            self.dropped += len(batch)
            _log.warning("Events could not be sent", count=len(batch), error=error.message)
            return
        for (identity, event), result in zip(batch, results, strict=True):
            if isinstance(result, NotFound) and identity in self._sent:  # it ran out: start a new one
                del self._sent[identity]
                self._queue.append((identity, event))
            elif isinstance(result, ApiError):
                self.dropped += 1
                _log.debug("Event refused", reason=event["reason"], error=result.message)

    async def _try(self, writes: list[Write]) -> Results:
        """Write; while the server is away, for about a minute, again and again. Raises the last ApiError."""
        backoff = Backoff(initial=0.5, maximum=10.0)
        while True:
            try:
                return await self._client.write(writes)
            except ServiceUnavailable:
                if backoff.failures >= _ATTEMPTS:
                    raise
                await self._clock.sleep(backoff.next())

    def _write(self, identity: Identity, event: Object) -> Write:
        sent = _recent(self._sent, identity)
        namespace = event["metadata"]["namespace"]
        if sent is None:
            self._sent[identity] = _Sent(event["metadata"]["name"], 1)
            return Write.create(CORE_EVENTS, event, namespace=namespace)
        sent.count += 1
        patch = {"count": sent.count, "lastTimestamp": event["lastTimestamp"], "message": event["message"]}
        return Write.patch(CORE_EVENTS, sent.name, namespace, patch)


def _recent(cache: OrderedDict[Identity, _V], key: Identity) -> _V | None:
    """The entry, marked as used; what has not been used longest makes room."""
    while len(cache) >= _CACHE:
        cache.popitem(last=False)
    if key in cache:
        cache.move_to_end(key)
        return cache[key]
    return None
