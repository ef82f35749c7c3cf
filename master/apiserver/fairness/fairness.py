"""Fairness put together: the objects' configuration, and the way of one request through seats and turns."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from apimachinery.memo import Memo

from ..auth.authorizer import RequestAttributes
from ..auth.user import MASTERS_GROUP
from ..registry.reader import Reader
from . import classify, defaults
from .defaults import FLOW_SCHEMAS, LEVELS, MANDATORY
from .levels import Level, LevelConfig, Pool, Queue, Rejected
from .turns import Flow, Pass, Turns

T = TypeVar("T")
Object = Mapping[str, Any]

_REMEMBERED = 8192
_TOLD_APART = 256
"""Characters of what distinguishes two flows."""
_READING = frozenset(("get", "list", "watch"))
OBJECTS_A_SEAT = 100
"""Of a list, as upstream's work estimate."""


class Match:
    """What requests of one sort belong to. ``headers`` tell the client; the counters are metrics."""

    __slots__ = ("distinguisher", "flow", "headers", "level", "schema", "tally")

    def __init__(
        self, schema: str, level: Level, distinguisher: str, headers: list[tuple[bytes, bytes]], tally: "Tally"
    ) -> None:
        self.schema, self.level, self.distinguisher, self.headers = schema, level, distinguisher, headers
        self.flow, self.tally = Flow(), tally


class Tally:
    """How many requests of a schema were dispatched, and refused for which reason."""

    __slots__ = ("dispatched", "rejected")

    def __init__(self) -> None:
        self.dispatched = 0
        self.rejected: dict[str, int] = {}


class Ticket(Pass):
    """One request, ``width`` seats wide. ``leave`` early when it begins to stream: that needs neither seat nor turn."""

    __slots__ = ("_queued", "_seated", "_since", "match", "width")

    def __init__(self, match: Match, width: int) -> None:
        self.flow, self.free = match.flow, False
        self.match = match
        self.width = width if width == 1 else match.level.width(width)
        self._seated = False
        self._since = 0.0
        self._queued: tuple[Queue, float] | None = None

    @property
    def has_waited(self) -> bool:
        """Whether it came to its seat through a queue."""
        return self._queued is not None

    def enter(self) -> bool:
        """Sit down at once if that is possible."""
        match = self.match
        level = match.level
        if not level.config.exempt:
            if not level.seat(self.width):
                return False
            self._seated, self._since = True, time.monotonic()
        match.tally.dispatched += 1
        return True

    async def wait(self) -> None:
        """Queue for a seat. Raises Rejected."""
        match = self.match
        try:
            self._queued = await match.level.queue(match.distinguisher, self.width)
        except Rejected as refused:
            match.tally.rejected[refused.why] = match.tally.rejected.get(refused.why, 0) + 1
            raise
        self._seated, self._since = True, time.monotonic()
        match.tally.dispatched += 1

    def leave(self) -> None:
        """Give up seat and turns. Safe to repeat."""
        self.free = True
        if self._seated:
            self._seated = False
            self.match.level.leave(self.width, time.monotonic() - self._since, self._queued)


class Fairness:
    """``total``: seats of the whole server. ``changed`` is set when the objects have changed, for who keeps them."""

    def __init__(self, reader: Reader, total: int) -> None:
        self.turns = Turns()
        self.pool = Pool()
        self.changed = asyncio.Event()
        self.tallies: dict[tuple[str, str], Tally] = {}
        self._reader, self._total = reader, total
        self._stale = True
        self._schemas: list[classify.Schema] = []
        self._matches: Memo[tuple[Any, ...], Match] = Memo(_REMEMBERED)
        self._flows: Memo[tuple[str, str], Match] = Memo(_REMEMBERED)
        self._headers: dict[str, list[tuple[bytes, bytes]]] = {}
        for kind in (FLOW_SCHEMAS, LEVELS):
            reader.on_change(kind, self._forget)

    def _forget(self) -> None:
        self._stale = True
        self.changed.set()

    def ticket(self, a: RequestAttributes, width: Callable[[], int] | int = 1) -> Ticket:
        """A request's ticket. ``width`` is asked only where it counts."""
        if self._stale:
            self._configure()
        user = a.user
        key = (user.name, user.groups, a.verb, a.group, a.resource, a.subresource, a.namespace, a.path)
        match = self._matches.get(key)
        if match is None:
            match = self._match(key, a)
        if not isinstance(width, int):
            width = 1 if match.level.config.exempt else width()
        return Ticket(match, width)

    async def serve(self, ticket: Ticket, work: Coroutine[Any, Any, T]) -> T:
        """Await ``work`` when it is its turn. Raises Rejected, and what it raises."""
        try:
            if not ticket.enter():
                await ticket.wait()
            return await self.turns.take(ticket, work)
        finally:
            ticket.leave()
            work.close()

    def _match(self, key: tuple[Any, ...], a: RequestAttributes) -> Match:
        schema = classify.first(self._schemas, a)
        distinguisher = schema.flow(a)[:_TOLD_APART]
        match = self._flows.get((schema.name, distinguisher))
        if match is None:
            tally = self.tallies.setdefault((schema.level, schema.name), Tally())
            level, headers = self.pool.levels[schema.level], self._headers[schema.name]
            match = self._flows.keep(
                (schema.name, distinguisher), Match(schema.name, level, distinguisher, headers, tally)
            )
        return self._matches.keep(key, match)

    def _configure(self) -> None:
        """A schema whose level is missing matches nothing, as upstream."""
        self._stale = False
        configs = level_configs(_with_mandatory(self._reader.list(LEVELS), defaults.levels()), self._total)
        self.pool.configure(configs, self._total)
        objects = _with_mandatory(self._reader.list(FLOW_SCHEMAS), defaults.schemas())
        found = (classify.Schema.of(obj) for obj in objects)
        self._schemas = classify.order(schema for schema in found if schema.level in configs)
        self._headers = {s.name: _headers(s.uid, configs[s.level].uid) for s in self._schemas}
        self._matches.clear()
        self._flows.clear()


class Limits(Fairness):
    """Without priority and fairness: two limits, and nobody waits. A limit of 0 is none."""

    def __init__(self, reader: Reader, reading: int, writing: int) -> None:
        super().__init__(reader, reading + writing)
        limits = {"readonly": reading, "mutating": writing}
        configs = {name: LevelConfig(name, "", not n, n, n, n) for name, n in limits.items()}
        self.pool.configure(configs | {"exempt": LevelConfig("exempt", exempt=True)}, reading + writing)

    def _configure(self) -> None:
        self._stale = False

    def _match(self, key: tuple[Any, ...], a: RequestAttributes) -> Match:
        name = "readonly" if a.verb in _READING else "mutating"
        level = self.pool.levels["exempt" if MASTERS_GROUP in a.user.groups else name]
        user = a.user.name[:_TOLD_APART]
        match = Match(name, level, user, [], Tally())
        flow = self._flows.get((name, user)) or self._flows.keep((name, user), match)
        match.flow = flow.flow
        return self._matches.keep(key, match)


def _headers(schema: str, level: str) -> list[tuple[bytes, bytes]]:
    """What tells a client by which objects it was classified."""
    return [
        (b"x-kubernetes-pf-flowschema-uid", schema.encode()),
        (b"x-kubernetes-pf-prioritylevel-uid", level.encode()),
    ]


def _with_mandatory(objects: Iterable[Object], wanted: Iterable[Object]) -> list[Object]:
    """The mandatory objects are in force even while they are not there."""
    found = {o["metadata"]["name"]: o for o in objects}
    missing = {name: o for o in wanted if (name := o["metadata"]["name"]) in MANDATORY and name not in found}
    return [*found.values(), *missing.values()]


def level_configs(objects: Iterable[Object], total: int) -> dict[str, LevelConfig]:
    """Seats from shares: each level's part of ``total``, rounded up."""
    found = {o["metadata"]["name"]: o for o in objects}
    parts = {name: _part(o) for name, o in found.items()}
    shares = sum(part.get("nominalConcurrencyShares", 0) for part in parts.values()) or 1
    return {name: _config(found[name], part, shares, total) for name, part in parts.items()}


def _part(level: Object) -> Object:
    spec = level.get("spec") or {}
    return (spec.get("exempt") if spec.get("type") == "Exempt" else spec.get("limited")) or {}


def _config(level: Object, part: Object, shares: int, total: int) -> LevelConfig:
    nominal = math.ceil(total * part.get("nominalConcurrencyShares", 0) / shares)
    lendable = round(nominal * (part.get("lendablePercent") or 0) / 100)
    borrowing = part.get("borrowingLimitPercent")
    most = total if borrowing is None else nominal + round(nominal * borrowing / 100)
    queuing = (part.get("limitResponse") or {}).get("queuing") or {}
    meta = level["metadata"]
    return LevelConfig(
        meta["name"],
        meta.get("uid", ""),
        level["spec"].get("type") == "Exempt",
        nominal,
        nominal - lendable,
        max(most, 1),
        queuing.get("queues", 0),
        queuing.get("handSize", 1),
        queuing.get("queueLengthLimit", 0),
    )
