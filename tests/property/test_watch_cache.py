"""The watch cache under random writes, broken watches and compactions: nobody loses or doubles a change."""

import asyncio
import contextlib
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from master.apiserver.storage import cache as cache_module
from master.apiserver.storage.cache import WatchCache
from master.apiserver.storage.interface import Delete, Put
from master.apiserver.storage.keys import KeySpace
from master.apiserver.storage.watcher import Watcher
from tests.fakes.storage import MemoryStorage

NAMES = ("a", "b", "c")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(NAMES), st.booleans()),
        st.tuples(st.just("delete"), st.sampled_from(NAMES), st.just(False)),
        st.tuples(st.sampled_from(("break", "compact", "settle", "foreign", "watch")), st.just(""), st.just(False)),
    ),
    max_size=40,
)


def value(name: str, chosen: bool, number: int) -> bytes:
    labels = {"chosen": "yes"} if chosen else {}
    metadata = {"name": name, "namespace": "n", "labels": labels}
    return orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"n": str(number)}})


class Follower:
    """A client: a list, then a watch. Its view must end as the store's."""

    def __init__(self, cache: WatchCache) -> None:
        bucket = cache.bucket("configmaps/")
        self.view = {e.key: e.revision for e in bucket.select() if e.labels.get("chosen")}
        self.watcher = Watcher(lambda e: e.labels.get("chosen") == "yes")
        self.last = cache.revision
        bucket.watch(self.watcher, cache.revision)

    def catch_up(self) -> None:
        for type_, event in self.watcher.take():
            assert event.revision >= self.last, "changes come in order"
            self.last = event.revision
            if type_ == "DELETED":
                assert self.view.pop(event.key, None) is not None, "nothing vanishes that was not there"
                assert orjson.loads(event.payload(type_))["metadata"]["resourceVersion"] == str(event.revision)
            else:
                assert (event.key in self.view) == (type_ == "MODIFIED"), "ADDED once, then MODIFIED"
                assert self.view.get(event.key, 0) < event.revision, "nothing comes twice"
                self.view[event.key] = event.revision


async def play(steps: list[Any]) -> None:
    storage, keys = MemoryStorage(), KeySpace("/registry/")
    cache = WatchCache(storage, keys, lambda _: {})
    running = asyncio.create_task(cache.run())
    await cache.ready.wait()
    followers = [Follower(cache)]
    for number, (what, name, chosen) in enumerate(steps):
        key = f"/registry/configmaps/n/{name}"
        if what == "put":
            await storage.commit([Put(key, value(name, chosen, number))])
        elif what == "delete" and key in storage.values:
            await storage.commit([Delete(key)])
        elif what == "foreign":
            await storage.commit([Put("/elsewhere/x", b"1")])
        elif what == "break":
            storage.break_watches()
        elif what == "compact":
            await storage.compact(storage.now)
        elif what == "watch":
            followers.append(Follower(cache))
        else:
            await asyncio.sleep(0)
    await cache.fresh()
    stored = {k.removeprefix("/registry/configmaps/"): s for k, s in storage.values.items() if "configmaps" in k}
    entries = cache.bucket("configmaps/").entries
    assert {k: e.revision for k, e in entries.items()} == {k: s.revision for k, s in stored.items()}
    chosen_now = {k: e.revision for k, e in entries.items() if e.labels.get("chosen")}
    for follower in followers:
        follower.catch_up()
        assert follower.view == chosen_now
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_followers_end_where_the_store_is(steps: list[Any]) -> None:
    retry, nudge = cache_module.RETRY, cache_module.NUDGE_AFTER
    cache_module.RETRY, cache_module.NUDGE_AFTER = 0.0, 0.001
    try:
        asyncio.run(play(steps))
    finally:
        cache_module.RETRY, cache_module.NUDGE_AFTER = retry, nudge
