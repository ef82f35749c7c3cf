"""Compaction: every few minutes etcd forgets what is older than the last time, whichever API server does it.

The record of the last time is a key inside the prefix, so that every API server's cache learns from its own watch how
far the past is gone.

Source: ``k8s.io/apiserver/pkg/storage/etcd3/compact.go``.
"""

import asyncio

from apimachinery.logging import get_logger

from .cache import COMPACTION_KEY, WatchCache, noted_revision
from .interface import Mismatch, Put, Storage, Unavailable
from .keys import KeySpace

_log = get_logger(__name__)


async def compact_regularly(storage: Storage, cache: WatchCache, keys: KeySpace, interval: float) -> None:
    """For ever. ``interval`` is in seconds."""
    key = keys.root + COMPACTION_KEY
    while True:
        await asyncio.sleep(interval)
        try:
            await compact_once(storage, cache, key)
        except Mismatch:
            continue  # another API server has just done it
        except Unavailable as error:
            _log.warning("Cannot compact etcd", error=str(error))


async def compact_once(storage: Storage, cache: WatchCache, key: str) -> None:
    """Compact up to what was current the last time, and note what is current now. Raises Mismatch, Unavailable."""
    noted = await storage.get(key)
    current = await storage.revision()
    await storage.commit([Put(key, b"%d" % current, noted.revision if noted else 0)])
    if noted:
        revision = noted_revision(noted.value)
        await storage.compact(revision)
        cache.compacted = max(cache.compacted, revision)  # sooner than by the watch
        _log.info("Compacted etcd", revision=revision)
