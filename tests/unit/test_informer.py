"""Informers and the one watch stream, over breaks, compactions and refusals."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from apimachinery import errors
from apimachinery.client.informer import Informer, InformerFactory
from apimachinery.meta import Object
from apimachinery.scheme import CONFIG_MAPS, SECRETS, Kind
from tests import fakes
from tests.contract.client_contract import config_map
from tests.waiting import until


class Fixture:
    def __init__(self) -> None:
        self.cluster = fakes.FakeCluster()
        self.client = fakes.client(self.cluster)
        self.factory = InformerFactory(self.client)
        self.seen: list[str] = []

    def informer(self, kind: Kind = CONFIG_MAPS) -> Informer:
        informer = self.factory.informer(kind)
        informer.add_handler(self.handle)
        return informer

    def handle(self, event: str, old: Object | None, new: Object | None) -> None:
        obj = new or old or {}
        self.seen.append(f"{event} {obj['metadata']['name']}")

    async def start(self) -> None:
        self.running = asyncio.create_task(self.factory.run())
        await self.factory.wait_synced()


@pytest.fixture
async def f() -> AsyncIterator[Fixture]:
    fixture = Fixture()
    yield fixture
    await fixture.client.close()
    fixture.running.cancel()


async def test_changes_during_a_break_arrive_once(f: Fixture) -> None:
    f.informer()
    f.cluster.create(CONFIG_MAPS, config_map("a"))
    await f.start()
    f.cluster.break_streams()
    f.cluster.create(CONFIG_MAPS, config_map("b"))
    f.cluster.delete(CONFIG_MAPS, "default", "a")
    await until(lambda: len(f.seen) == 3)
    assert f.seen == ["ADDED a", "ADDED b", "DELETED a"]


async def test_after_410_handlers_see_exactly_the_difference(f: Fixture) -> None:
    informer = f.informer()
    for name in ("same", "changed", "gone", "remade"):
        f.cluster.create(CONFIG_MAPS, config_map(name))
    await f.start()
    f.seen.clear()
    f.cluster.break_streams()
    f.cluster.patch(CONFIG_MAPS, "default", "changed", {"data": {"k": "v"}}, "application/merge-patch+json")
    f.cluster.delete(CONFIG_MAPS, "default", "gone")
    f.cluster.delete(CONFIG_MAPS, "default", "remade")
    f.cluster.create(CONFIG_MAPS, config_map("remade"))
    f.cluster.create(CONFIG_MAPS, config_map("new"))
    f.cluster.compact()
    await until(lambda: len(f.seen) == 5 and informer.version == f.cluster.version)
    assert sorted(f.seen) == ["ADDED new", "ADDED remade", "DELETED gone", "DELETED remade", "MODIFIED changed"]
    assert f.seen.index("DELETED remade") < f.seen.index("ADDED remade")


async def test_a_refused_watch_is_tried_again_and_others_go_on(f: Fixture) -> None:
    refusals = iter([errors.Forbidden("not yet")])

    def intercept(verb: str, kind: Kind, name: str, body: Object | None) -> None:
        if verb == "watch" and kind is SECRETS and (error := next(refusals, None)):
            raise error

    f.cluster.intercept = intercept
    f.informer(CONFIG_MAPS)
    f.informer(SECRETS)
    await f.start()
    f.cluster.create(CONFIG_MAPS, config_map("a"))
    f.cluster.create(SECRETS, {"metadata": {"name": "s"}})
    await until(lambda: sorted(f.seen) == ["ADDED a", "ADDED s"])


async def test_indexes_follow_changes(f: Fixture) -> None:
    informer = f.informer()
    informer.add_index("value", lambda o: (o.get("data") or {}).values())
    f.cluster.create(CONFIG_MAPS, config_map("a", k="1"))
    await f.start()
    assert [o["metadata"]["name"] for o in informer.store.by_index("value", "1")] == ["a"]
    f.cluster.patch(CONFIG_MAPS, "default", "a", {"data": {"k": "2"}}, "application/merge-patch+json")
    await until(lambda: informer.store.by_index("value", "2") != [])
    assert informer.store.by_index("value", "1") == []


async def test_a_failing_handler_does_not_stop_the_others(f: Fixture) -> None:
    informer = f.factory.informer(CONFIG_MAPS)
    informer.add_handler(lambda *_: {}["no"])
    f.informer()
    await f.start()
    f.cluster.create(CONFIG_MAPS, config_map("a"))
    await until(lambda: f.seen == ["ADDED a"])


async def test_managed_fields_are_not_kept(f: Fixture) -> None:
    informer = f.informer()
    obj = config_map("a")
    obj["metadata"]["managedFields"] = [{"manager": "x"}]
    f.cluster.create(CONFIG_MAPS, obj)
    await f.start()
    assert "managedFields" not in informer.store.list()[0]["metadata"]


async def test_the_same_arguments_give_the_same_informer(f: Fixture) -> None:
    assert f.informer() is f.informer()
    assert f.factory.informer(CONFIG_MAPS, namespace="x") is not f.factory.informer(CONFIG_MAPS)
    await f.start()
