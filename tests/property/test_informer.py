"""Whatever happens to objects, streams and history: handlers and store end up with what the server has."""

import asyncio
import contextlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from apimachinery.client.informer import InformerFactory
from apimachinery.errors import ApiError
from apimachinery.meta import Object, key_of, uid_of
from apimachinery.scheme import CONFIG_MAPS
from tests import fakes
from tests.contract.client_contract import config_map
from tests.waiting import until

NAMES = st.sampled_from("ab")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["create", "change", "label", "delete"]), NAMES),
        st.tuples(st.sampled_from(["break", "compact", "catch up"]), st.just("")),
    ),
    min_size=8,
    max_size=40,
)


class Replica:
    """Rebuilt from events alone; every event must fit what came before it."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}

    def handle(self, event: str, old: Object | None, new: Object | None) -> None:
        key = key_of(new or old or {})
        if event == "ADDED":
            assert key not in self.objects and new is not None
            self.objects[key] = new
        elif event == "MODIFIED":
            assert new is not None and uid_of(self.objects[key]) == uid_of(new)
            self.objects[key] = new
        else:
            del self.objects[key]


async def take(cluster: fakes.FakeCluster, verb: str, name: str) -> None:
    merge = "application/merge-patch+json"
    with contextlib.suppress(ApiError):  # what is not there cannot be changed
        if verb == "create":
            cluster.create(CONFIG_MAPS, config_map(name))
        elif verb == "change":
            cluster.patch(CONFIG_MAPS, "default", name, {"data": {"v": str(cluster.version)}}, merge)
        elif verb == "label":
            there = cluster.get(CONFIG_MAPS, "default", name)["metadata"].get("labels") or {}
            label = "no" if there.get("in") == "yes" else "yes"
            cluster.patch(CONFIG_MAPS, "default", name, {"metadata": {"labels": {"in": label}}}, merge)
        elif verb == "delete":
            cluster.delete(CONFIG_MAPS, "default", name)
    if verb == "break":
        cluster.break_streams()
    elif verb == "compact":
        cluster.compact()


async def catch_up(cluster: fakes.FakeCluster, replica: Replica) -> None:
    """Until the replica has seen a change made now: by then it has come through all before."""
    with contextlib.suppress(ApiError):
        cluster.delete(CONFIG_MAPS, "default", "marker")
    marker = config_map("marker")
    marker["metadata"]["labels"] = {"in": "yes"}
    made = cluster.create(CONFIG_MAPS, marker)
    await until(lambda: uid_of(replica.objects.get(key_of(made), made | {"metadata": {}})) == uid_of(made))


async def live(steps: list[tuple[str, str]], selector: str) -> None:
    cluster = fakes.FakeCluster()
    client = fakes.client(cluster)
    factory = InformerFactory(client)
    informer = factory.informer(CONFIG_MAPS, label_selector=selector)
    replica = Replica()
    informer.add_handler(replica.handle)
    running = asyncio.create_task(factory.run())
    await factory.wait_synced()
    for verb, name in steps:
        if verb == "catch up":
            await catch_up(cluster, replica)
        else:
            await take(cluster, verb, name)
    await catch_up(cluster, replica)
    wanted = {key_of(o): o for o in (await client.list(CONFIG_MAPS, label_selector=selector)).items}
    assert {key_of(o): o for o in informer.store.list()} == wanted == replica.objects
    running.cancel()
    await client.close()


@given(STEPS, st.sampled_from(["", "in=yes"]))
@example([("create", "a"), ("catch up", ""), ("break", ""), ("delete", "a"), ("compact", "")], "")
@settings(max_examples=40, deadline=None)
def test_informers_converge(steps: list[tuple[str, str]], selector: str) -> None:
    asyncio.run(live(steps, selector))
