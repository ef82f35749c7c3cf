"""What the cache holds: one object's bytes and what selectors need of it; and one change of it, framed once for all."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from sys import intern
from typing import Any, Literal

from .codec import check, decode, splice, with_revision
from .interface import Unreadable

Object = dict[str, Any]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]
FieldLabels = Mapping[str, Callable[[Object], str]]
_NONE: Mapping[str, str] = {}


_FEW, _LONG = 32, 256


def _shared(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """One mapping for all objects that have the same: the pods of a set differ in little of what selectors look at."""
    small = len(items) <= _FEW and not any(len(value) > _LONG for _, value in items)
    return _remembered(items) if small else dict(items)


@lru_cache(maxsize=4096)
def _remembered(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return dict(items)


class Entry:
    """One object at one revision.

    ``data`` is its JSON with resourceVersion, as clients get it. ``labels`` and ``fields`` (the kind's selectable
    fields) are parsed when it enters the cache; the whole object only when somebody asks, and it is then shared:
    never change it.
    """

    __slots__ = ("_object", "data", "fields", "key", "labels", "revision")

    def __init__(self, key: str, value: bytes, revision: int, field_labels: FieldLabels) -> None:
        """Raises Unreadable for a value that is no object."""
        self.key = key
        self.revision = revision
        self._object: Object | None = None
        try:
            self.data = splice(value, revision)
            obj = decode(value)
            check(obj)
            labels = obj["metadata"].get("labels")
            self.labels: Mapping[str, str] = _shared(tuple(labels.items())) if labels else _NONE
            fields = tuple([(k, intern(read(obj))) for k, read in field_labels.items()])
            self.fields: Mapping[str, str] = _shared(fields) if fields else _NONE
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise Unreadable(key, error) from error

    @property
    def object(self) -> Object:
        if self._object is None:
            self._object = decode(self.data)
        return self._object

    def peek(self) -> Object:
        """The object for one look: it is not kept, for a list of all pods would keep all of them decoded."""
        return self._object if self._object is not None else decode(self.data)

    @property
    def namespace(self) -> str:
        return self.key.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]


class Event:
    """One change of one object. What is sent of it is made at first use and shared by all watchers."""

    __slots__ = ("_made", "_payload", "new", "old", "revision", "time")

    def __init__(self, revision: int, new: Entry | None, old: Entry | None, time: float = 0.0) -> None:
        self.revision = revision
        self.new = new
        self.old = old
        self.time = time
        self._payload: bytes | None = None
        self._made: dict[tuple[EventType, Encode], bytes] | None = None

    @property
    def type(self) -> EventType:
        if self.new is None:
            return "DELETED"
        return "MODIFIED" if self.old else "ADDED"

    @property
    def key(self) -> str:
        entry = self.new or self.old
        return entry.key if entry else ""

    def payload(self, type_: EventType) -> bytes:
        """The object as an event of this type carries it: the last state with the deletion's revision if DELETED."""
        if type_ != "DELETED" and self.new:
            return self.new.data
        if self._payload is None:
            assert self.old is not None, "a deletion has something to delete"  # noqa: S101 - the invariant of a change
            self._payload = with_revision(self.old.data, self.revision)
        return self._payload

    def encoded(self, type_: EventType, encode: "Encode") -> bytes:
        """The event as one protocol sends it: ``encode``, which must always be the same for it, is called once."""
        if self._made is None:
            self._made = {}
        made = self._made.get((type_, encode))
        if made is None:
            made = self._made[type_, encode] = encode(type_, self)
        return made

    def frame(self, type_: EventType) -> bytes:
        """One line of a watch response."""
        return self.encoded(type_, _line)

    def forget(self) -> None:
        """Keep nothing of what was sent: all but the slowest have it."""
        self._made = self._payload = None


Encode = Callable[[EventType, Event], bytes]


def _line(type_: EventType, event: Event) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (type_.encode(), event.payload(type_))
