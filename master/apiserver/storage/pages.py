"""What lists found among the objects of a bucket, kept until the next of its changes: many clients ask for the same."""

from collections.abc import Hashable

from .entry import Entry

MOST = 32
ROOM = 4 << 20
"""Bytes of joined items that are kept of one bucket."""


class Room:
    """What one state of a bucket may still keep of joined items, in bytes."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = ROOM


class Page:
    """``remaining``: how many follow the ``entries``. ``joined``: the items as they are sent, in pieces, and how many
    bytes these are; None until somebody has joined them and there was room to keep that."""

    __slots__ = ("entries", "joined", "remaining", "room")

    def __init__(self, entries: list[Entry], remaining: int, room: Room | None = None) -> None:
        """``room``: that of the state which the entries were read from."""
        self.entries, self.remaining, self.room = entries, remaining, room
        self.joined: tuple[list[bytes], int] | None = None

    def may_keep(self, size: int) -> bool:
        """Whether so many joined bytes may be kept here; they are charged for then."""
        room = self.room
        if room is None or size > room.left:
            return False
        room.left -= size
        return True


class Pages:
    """The pages of one state of one bucket."""

    __slots__ = ("_kept", "room")

    def __init__(self) -> None:
        self._kept: dict[Hashable, Page] = {}
        self.room = Room()

    def get(self, key: Hashable) -> Page | None:
        return self._kept.get(key)

    def keep(self, key: Hashable, page: Page) -> None:
        if len(self._kept) >= MOST:
            self.forget()
            page.room = self.room
        self._kept[key] = page

    def forget(self) -> None:
        """The state has changed: what is under way goes on with its pages and their room, nobody else gets them."""
        if self._kept:
            self._kept = {}
        self.room = Room()
