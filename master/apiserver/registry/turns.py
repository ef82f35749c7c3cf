"""Writers of one object take turns, so that those of this process do not lose races against each other.

Races with other API servers are still decided by etcd.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Invariant of ``_queues``: a key is in it as long as somebody writes or waits."""

    def __init__(self) -> None:
        self._queues: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def take(self, key: str) -> AsyncIterator[None]:
        lock, users = self._queues.get(key) or (asyncio.Lock(), 0)
        self._queues[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._queues[key]
            if users == 1:
                del self._queues[key]
            else:
                self._queues[key] = lock, users - 1
