"""Garbage collection: background, foreground, orphan, circles, several owners, and what must stay."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from apimachinery.meta import Object, owner_reference
from apimachinery.scheme import CONFIG_MAPS, DEPLOYMENTS, PODS, REPLICA_SETS, Kind, kind_of
from tests import fakes
from tests.fakes.manager import running, settle
from tests.waiting import until

MERGE = "application/merge-patch+json"
CRDS = kind_of("customresourcedefinitions", "apiextensions.k8s.io")


class World:
    def __init__(self) -> None:
        self.cluster = fakes.FakeCluster()

    def make(self, name: str, *owners: Object, kind: Kind = CONFIG_MAPS, finalizers: tuple[str, ...] = ()) -> Object:
        references = [owner_reference(o, _kind(o), controller=False) for o in owners]
        metadata = {"name": name, "namespace": "ns", "ownerReferences": references, "finalizers": list(finalizers)}
        return self.cluster.create(kind, {"metadata": metadata, "spec": {}})

    def delete(self, name: str, policy: str = "Background", kind: Kind = CONFIG_MAPS) -> None:
        self.cluster.delete(kind, "ns", name, {"propagationPolicy": policy})

    def names(self, kind: Kind = CONFIG_MAPS) -> list[str]:
        return [o["metadata"]["name"] for o in self.cluster.all(kind)]

    def owners(self, name: str) -> list[str]:
        references: list[Any] = self.cluster.get(CONFIG_MAPS, "ns", name)["metadata"].get("ownerReferences") or []
        return [r["name"] for r in references]


def _kind(obj: Object) -> Kind:
    return next(k for k in (CONFIG_MAPS, DEPLOYMENTS, REPLICA_SETS, PODS) if k.kind == obj["kind"])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    async with running(world.cluster, "garbage-collector"):
        await settle(world.cluster)
        yield world


async def test_background_takes_the_whole_tree(world: World) -> None:
    root = world.make("root", kind=DEPLOYMENTS)
    middle = world.make("middle", root, kind=REPLICA_SETS)
    for number in range(5):
        world.make(f"leaf-{number}", middle)
    world.make("stranger")
    world.delete("root", kind=DEPLOYMENTS)
    await until(lambda: world.names() == ["stranger"] and not world.names(REPLICA_SETS))


async def test_what_lost_its_owner_while_nobody_looked_goes_too() -> None:
    world = World()
    root = world.make("root")
    world.make("leaf", root)
    world.delete("root")
    async with running(world.cluster, "garbage-collector"):
        await until(lambda: world.names() == [])


async def test_foreground_keeps_the_owner_until_its_dependents_are_gone(world: World) -> None:
    root = world.make("root")
    middle = world.make("middle", root)
    world.make("leaf", middle, finalizers=("example.com/hold",))
    world.delete("root", "Foreground")
    await until(lambda: world.cluster.get(CONFIG_MAPS, "ns", "leaf")["metadata"].get("deletionTimestamp"))
    await settle(world.cluster)
    assert world.names() == ["leaf", "middle", "root"]
    world.cluster.patch(CONFIG_MAPS, "ns", "leaf", {"metadata": {"finalizers": None}}, MERGE)
    await until(lambda: world.names() == [])


async def test_orphan_strips_the_reference_and_nothing_else(world: World) -> None:
    one, two = world.make("one"), world.make("two")
    world.make("leaf", one, two)
    world.make("other", one)
    world.delete("one", "Orphan")
    await until(lambda: "one" not in world.names())
    assert world.owners("leaf") == ["two"] and world.owners("other") == []


async def test_a_dependent_with_another_owner_stays_and_forgets_the_first(world: World) -> None:
    one, two = world.make("one"), world.make("two")
    world.make("leaf", one, two)
    world.delete("one", "Foreground")
    await until(lambda: "one" not in world.names() and world.owners("leaf") == ["two"])
    assert not world.cluster.get(CONFIG_MAPS, "ns", "leaf")["metadata"].get("deletionTimestamp")


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_circles_are_collected(world: World, policy: str) -> None:
    one = world.make("one")
    two = world.make("two", one)
    three = world.make("three", two)
    reference = owner_reference(three, CONFIG_MAPS, controller=False)
    world.cluster.patch(CONFIG_MAPS, "ns", "one", {"metadata": {"ownerReferences": [reference]}}, MERGE)
    await settle(world.cluster)
    assert len(world.names()) == 3
    world.delete("one", policy)
    await until(lambda: world.names() == [])


async def test_a_namesake_of_the_owner_is_not_the_owner(world: World) -> None:
    root = world.make("root")
    world.delete("root")
    world.make("root")
    world.make("leaf", root)
    await until(lambda: world.names() == ["root"])


async def test_an_owner_of_a_kind_that_is_not_served_proves_nothing(world: World) -> None:
    reference = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": "u"}
    world.cluster.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "ns", "ownerReferences": [reference]}})
    await settle(world.cluster)
    assert world.names() == ["a"]


WIDGETS = Kind("example.com", "v1", "Widget", "widgets")


def serve_widgets(cluster: fakes.FakeCluster) -> None:
    cluster.scheme.add(WIDGETS)
    names = {"kind": "Widget", "plural": "widgets"}
    versions = [{"name": "v1", "served": True, "storage": True}]
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": versions}
    made = cluster.create(CRDS, {"metadata": {"name": "widgets.example.com"}, "spec": spec})
    established = {"conditions": [{"type": "Established", "status": "True"}]}
    cluster.update(CRDS, {**made, "status": established}, "status")


async def test_custom_resources_own_and_are_owned(world: World) -> None:
    serve_widgets(world.cluster)
    root = world.make("root")
    widget = world.make("w", root, kind=WIDGETS)
    reference = owner_reference(widget, WIDGETS)
    world.cluster.create(CONFIG_MAPS, {"metadata": {"name": "leaf", "namespace": "ns", "ownerReferences": [reference]}})
    await settle(world.cluster)
    assert world.names() == ["leaf", "root"]
    world.delete("root")
    await until(lambda: not world.names() and not world.names(WIDGETS))


async def test_the_end_of_a_custom_kind_takes_nothing_else_along(world: World) -> None:
    serve_widgets(world.cluster)
    widget = world.make("w", kind=WIDGETS)
    reference = owner_reference(widget, WIDGETS)
    world.cluster.create(CONFIG_MAPS, {"metadata": {"name": "leaf", "namespace": "ns", "ownerReferences": [reference]}})
    await settle(world.cluster)
    world.cluster.scheme.remove(WIDGETS)
    world.cluster.delete(CRDS, "", "widgets.example.com")
    await settle(world.cluster)
    world.cluster.patch(CONFIG_MAPS, "ns", "leaf", {"data": {"k": "v"}}, MERGE)
    await settle(world.cluster)
    assert world.names() == ["leaf"]
