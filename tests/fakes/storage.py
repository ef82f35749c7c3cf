"""A store in memory with etcd's semantics, whose watches can be broken and whose past can be compacted."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from master.apiserver.storage.interface import Change, Compacted, Mismatch, Op, Page, Put, Stored, Unavailable


class MemoryStorage:
    """Implements ``Storage``. A real one is slow; this one yields to the loop where that matters."""

    def __init__(self) -> None:
        self.now = 1
        self.oldest = 0
        self.log: list[Change] = []
        self.values: dict[str, Stored] = {}
        self._changed = asyncio.Event()
        self._broken = 0

    async def get(self, key: str) -> Stored | None:
        return self.values.get(key)

    async def page(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        if revision and revision < self.oldest:
            raise Compacted(self.oldest)
        await asyncio.sleep(0)
        values = self._at(revision) if revision else self.values
        keys = [k for k in sorted(values) if k.startswith(prefix) and k >= (start or prefix)]
        taken = keys[:limit] if limit else keys
        return Page([values[k] for k in taken], revision or self.now, len(taken) < len(keys), len(keys))

    def _at(self, revision: int) -> dict[str, Stored]:
        values: dict[str, Stored] = {}
        for change in self.log:
            if change.revision > revision:
                break
            if change.value is None:
                values.pop(change.key, None)
            else:
                values[change.key] = Stored(change.key, change.value, change.revision)
        return values

    async def commit(self, ops: Sequence[Op]) -> int:
        for op in ops:
            have = self.values.get(op.key)
            if op.expected is not None and op.expected != (have.revision if have else 0):
                raise Mismatch({o.key: self.values.get(o.key) for o in ops})
        self.now += 1
        for op in ops:
            value = op.value if isinstance(op, Put) else None
            self.log.append(Change(op.key, value, self.now))
            if value is None:
                self.values.pop(op.key, None)
            else:
                self.values[op.key] = Stored(op.key, value, self.now)
        self._changed.set()
        return self.now

    async def revision(self) -> int:
        await asyncio.sleep(0)
        return self.now

    def break_watches(self) -> None:
        self._broken += 1
        self._changed.set()

    async def compact(self, revision: int) -> None:
        self.oldest = max(self.oldest, revision)

    async def watch(self, prefix: str, after: int) -> AsyncIterator[list[Change]]:
        if after + 1 < self.oldest:
            raise Compacted(self.oldest)
        generation = self._broken
        while True:
            if self._broken != generation:
                raise Unavailable("the watch broke")
            news = [c for c in self.log if c.revision > after and c.key.startswith(prefix)]
            if news:
                first = [c for c in news if c.revision == news[0].revision]
                after = first[0].revision
                yield first
            else:
                self._changed.clear()
                await self._changed.wait()
