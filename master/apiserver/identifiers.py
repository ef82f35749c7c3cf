"""Unique identifiers by the thousand: asking the kernel for randomness each time would cost more than a cached GET."""

import itertools
import os
import uuid

_POOL_BYTES = 4096


class UidSource:
    """Random (version 4) UUIDs from kernel randomness fetched in bulk. Not to be shared across a fork."""

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def __call__(self) -> str:
        if self._at == len(self._pool):
            self._pool, self._at = os.urandom(_POOL_BYTES), 0
        chunk = self._pool[self._at : self._at + 16]
        self._at += 16
        return str(uuid.UUID(bytes=chunk, version=4))


class AuditIds:
    """Of a UUID's form, unique and not secret: a random start for this process, then counted."""

    def __init__(self) -> None:
        self._start = str(uuid.uuid4())[:24]
        self._count = itertools.count(1)

    def __call__(self) -> str:
        return f"{self._start}{next(self._count):012x}"


new_uid = UidSource()
