"""One gRPC call as its caller sees it: messages in turn, then its end. ``http2`` brings what arrives."""

import asyncio
from collections import deque

_PREFIX = 5
"""Bytes before each message: whether it is compressed, and its length."""


class ConnectionLost(Exception):
    """The connection, or one call on it, is no more. Whether a request was carried out is not known."""


class CallFailed(Exception):
    """The server answered with a gRPC status that is not OK."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Call:
    """One call. ``receive`` gives its messages in turn, and None at its end."""

    __slots__ = ("_arrived", "_end", "_have", "_messages", "_need", "_parts", "consumed", "id", "window")

    def __init__(self, id_: int, window: int) -> None:
        self.id, self.window, self.consumed = id_, window, 0
        self._parts: list[bytes] = []
        self._have, self._need = 0, _PREFIX
        self._messages: deque[bytes] = deque()
        self._end: Exception | None = None
        self._arrived: asyncio.Future[None] | None = None

    async def receive(self) -> bytes | None:
        """Raises CallFailed, ConnectionLost."""
        while not self._messages:
            if isinstance(self._end, _Done):
                return None
            if self._end:
                raise self._end
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        return self._messages.popleft()

    def take(self, data: bytes) -> None:
        """Part of the response's body: messages with their lengths before them."""
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:
            return
        data, at = b"".join(self._parts), 0
        while len(data) - at >= _PREFIX:
            end = at + _PREFIX + int.from_bytes(data[at + 1 : at + _PREFIX], "big")
            if end > len(data):
                break
            self._messages.append(data[at + _PREFIX : end])
            at = end
        rest = data[at:]
        self._parts, self._have = [rest], len(rest)
        self._need = _PREFIX + (int.from_bytes(rest[1:_PREFIX], "big") if len(rest) >= _PREFIX else 0)
        if self._messages:
            self.wake()

    def end(self, error: Exception | None) -> None:
        if self._end is None:
            self._end = error or _Done()
            self.wake()

    def wake(self) -> None:
        if self._arrived and not self._arrived.done():
            self._arrived.set_result(None)


class _Done(Exception):
    """A call that has ended well."""
