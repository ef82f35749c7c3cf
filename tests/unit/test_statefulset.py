"""StatefulSets: names and order, scaling, partitions, rollback, pods that fail."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from apimachinery.meta import Object, labels_of, owner_reference, owner_references
from apimachinery.scheme import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from master.controller_manager import statefulset_claims as claims
from tests import fakes
from tests.fakes.cluster import Change
from tests.fakes.manager import running, settle
from tests.fakes.nodes import FakeNodes
from tests.waiting import until

CLAIM = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
MERGE = "application/merge-patch+json"


def stateful_set(replicas: int = 3, image: str = "v1", **spec: Any) -> Object:
    labels = {"app": "s"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}
    body = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, "serviceName": "svc"}
    return {"metadata": {"name": "s", "namespace": "ns"}, "spec": body | spec}


class World:
    def __init__(self) -> None:
        self.cluster = fakes.FakeCluster()
        self.nodes = FakeNodes(self.cluster, "a")

    def images(self) -> dict[str, str]:
        return {p["metadata"]["name"]: p["spec"]["containers"][0]["image"] for p in self.cluster.all(PODS)}

    def status(self) -> Object:
        found: Object = self.cluster.get(STATEFUL_SETS, "ns", "s").get("status") or {}
        return found

    def patch(self, spec: Object) -> None:
        self.cluster.patch(STATEFUL_SETS, "ns", "s", {"spec": spec}, MERGE)

    def set_image(self, image: str) -> None:
        self.patch({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}})

    async def is_at(self, *images: str) -> None:
        wanted = {f"s-{i}": image for i, image in enumerate(images)}
        await until(lambda: self.images() == wanted and self.status().get("readyReplicas", 0) == len(wanted))
        await settle(self.cluster)
        assert self.images() == wanted


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    async with running(world.cluster, "statefulset"):
        yield world


async def test_pods_start_in_order_and_go_in_reverse(world: World) -> None:
    steps: list[str] = []

    def watch(change: Change) -> None:
        if change.kind is PODS and (change.old is None or change.new is None):
            name = (change.new or change.old or {})["metadata"]["name"]
            steps.append(("+" if change.new else "-") + name)

    world.cluster.on_change.append(watch)
    world.nodes.holds = lambda pod: pod["metadata"]["name"] == "s-1"
    world.cluster.create(STATEFUL_SETS, stateful_set())
    await until(lambda: "s-1" in world.images())
    await settle(world.cluster)
    assert steps == ["+s-0", "+s-1"]
    world.nodes.holds = lambda pod: False
    world.nodes.retry()
    await world.is_at("v1", "v1", "v1")
    world.patch({"replicas": 0})
    await world.is_at()
    assert steps == ["+s-0", "+s-1", "+s-2", "-s-2", "-s-1", "-s-0"]


async def test_identity_and_volumes_stay(world: World) -> None:
    world.cluster.create(STATEFUL_SETS, stateful_set(2, volumeClaimTemplates=[CLAIM], ordinals={"start": 5}))
    await until(lambda: set(world.images()) == {"s-5", "s-6"})
    pod = world.cluster.get(PODS, "ns", "s-5")
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("s-5", "svc")
    assert pod["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-s-5"}}]
    assert labels_of(pod)["apps.kubernetes.io/pod-index"] == "5"
    world.cluster.delete(PODS, "ns", "s-5")
    uid = pod["metadata"]["uid"]
    await until(lambda: world.cluster.get(PODS, "ns", "s-5")["metadata"]["uid"] != uid)
    assert [c["metadata"]["name"] for c in world.cluster.all(PERSISTENT_VOLUME_CLAIMS)] == ["data-s-5", "data-s-6"]


async def test_rollout_by_partition_and_rollback_to_the_same_revision(world: World) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    world.cluster.create(STATEFUL_SETS, stateful_set(updateStrategy=strategy))
    await world.is_at("v1", "v1", "v1")
    first = world.status()["currentRevision"]
    world.set_image("v2")
    await world.is_at("v1", "v1", "v2")
    assert world.status()["currentRevision"] == first != world.status()["updateRevision"]
    assert (world.status()["currentReplicas"], world.status()["updatedReplicas"]) == (2, 1)
    world.cluster.delete(PODS, "ns", "s-0")
    await world.is_at("v1", "v1", "v2")
    world.patch({"updateStrategy": {"rollingUpdate": {"partition": 0}}})
    await world.is_at("v2", "v2", "v2")
    await until(lambda: world.status()["currentRevision"] == world.status()["updateRevision"])
    world.set_image("v1")
    await world.is_at("v1", "v1", "v1")
    await until(lambda: world.status()["currentRevision"] == first)


async def test_in_parallel_none_waits_for_another(world: World) -> None:
    world.nodes.holds = lambda pod: not pod["metadata"].get("deletionTimestamp")
    world.cluster.create(STATEFUL_SETS, stateful_set(podManagementPolicy="Parallel"))
    await until(lambda: len(world.images()) == 3)
    world.patch({"replicas": 1})
    await until(lambda: set(world.images()) == {"s-0"})


async def test_a_pod_that_failed_is_made_anew(world: World) -> None:
    world.cluster.create(STATEFUL_SETS, stateful_set(2))
    await world.is_at("v1", "v1")
    uid = world.cluster.get(PODS, "ns", "s-0")["metadata"]["uid"]
    world.nodes.finish("ns", "s-0", exit_code=1)
    await until(lambda: world.cluster.get(PODS, "ns", "s-0")["metadata"]["uid"] != uid)
    await world.is_at("v1", "v1")


def keeping(deleted: str, scaled: str) -> Object:
    return {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}}


def claim_owners(world: World) -> dict[str, list[str]]:
    return {
        c["metadata"]["name"]: [f"{r['kind']}/{r['name']}" for r in owner_references(c)]
        for c in world.cluster.all(PERSISTENT_VOLUME_CLAIMS)
    }


async def test_claims_belong_to_whom_they_should_go_with(world: World) -> None:
    world.cluster.create(STATEFUL_SETS, stateful_set(2, volumeClaimTemplates=[CLAIM], **keeping("Delete", "Retain")))
    await world.is_at("v1", "v1")
    assert claim_owners(world) == {"data-s-0": ["StatefulSet/s"], "data-s-1": ["StatefulSet/s"]}
    world.patch(keeping("Retain", "Delete"))
    await until(lambda: claim_owners(world) == {"data-s-0": [], "data-s-1": []})
    world.patch(keeping("Delete", "Delete") | {"replicas": 1})
    await world.is_at("v1")
    assert claim_owners(world) == {"data-s-0": ["StatefulSet/s"], "data-s-1": ["Pod/s-1"]}
    world.patch(keeping("Retain", "Retain"))
    await until(lambda: claim_owners(world)["data-s-0"] == [])


async def test_a_pod_waits_until_the_claim_of_its_predecessor_is_gone(world: World) -> None:
    world.cluster.create(STATEFUL_SETS, stateful_set(2, volumeClaimTemplates=[CLAIM], **keeping("Retain", "Delete")))
    await world.is_at("v1", "v1")
    world.patch({"replicas": 1})
    await world.is_at("v1")
    world.patch({"replicas": 2})
    await settle(world.cluster)
    assert set(world.images()) == {"s-0"}
    world.cluster.delete(PERSISTENT_VOLUME_CLAIMS, "ns", "data-s-1")
    await world.is_at("v1", "v1")
    assert claim_owners(world) == {"data-s-0": [], "data-s-1": []}


def named(name: str, uid: str, owners: list[Object] | None = None) -> Object:
    return {"metadata": {"name": name, "namespace": "ns", "uid": uid, "ownerReferences": owners or []}}


def test_claims_of_others_are_left_alone() -> None:
    owner = stateful_set(1, **keeping("Delete", "Delete"))
    owner["metadata"]["uid"] = "set"
    pod, mine = named("s-0", "pod"), owner_reference(owner, STATEFUL_SETS)
    boss = owner_reference(named("boss", "b"), CONFIG_MAPS)
    bystander = {k: v for k, v in boss.items() if k != "controller"}

    def given(*owners: Object, wanted: bool = True) -> list[Object] | None:
        return claims.references(owner, pod, wanted, named("data-s-0", "c", list(owners)))

    assert given() == [mine]
    assert given(mine) is None
    assert given(bystander) == [bystander, mine]
    assert given({**mine, "controller": False}) == [mine]
    assert given(mine, wanted=False) == [owner_reference(pod, PODS)]
    assert given(boss) is None
    assert given(boss, mine) == [boss]
    assert given({**mine, "uid": "earlier"}) is None
    assert given(owner_reference(named("s-0", "earlier"), PODS), wanted=False) is None
