"""Deployments: rollouts as a whole on the in-memory cluster, and the numbers of scaling."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from apimachinery.clock import Clock, ManualClock, SystemClock
from apimachinery.meta import Object, condition_is_true, get_condition
from apimachinery.scheme import CORE_EVENTS, DEPLOYMENTS, PODS, REPLICA_SETS
from master.controller_manager.deployment_revisions import DESIRED, MAXIMUM, REVISION, Sets
from master.controller_manager.deployment_rollout import plan, proportional
from tests import fakes
from tests.fakes.cluster import Change
from tests.fakes.manager import running, settle
from tests.fakes.nodes import FakeNodes
from tests.waiting import until

MERGE = "application/merge-patch+json"


def deployment(replicas: int, image: str = "v1", **spec: Any) -> Object:
    labels = {"app": "d"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    body = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, "strategy": strategy}
    body |= {"progressDeadlineSeconds": 600, "revisionHistoryLimit": 10, **spec}
    return {"metadata": {"name": "d", "namespace": "ns"}, "spec": body}


class World:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.cluster = fakes.FakeCluster(self.clock)
        self.nodes = FakeNodes(self.cluster, "a", "b")

    def get(self) -> Object:
        return self.cluster.get(DEPLOYMENTS, "ns", "d")

    def status(self) -> Object:
        found: Object = self.get()["status"]
        return found

    def patch(self, spec: Object) -> None:
        self.cluster.patch(DEPLOYMENTS, "ns", "d", {"spec": spec}, MERGE)

    def set_image(self, image: str) -> None:
        self.patch({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}})

    def is_rolled_out(self, image: str, replicas: int) -> Callable[[], bool]:
        def check() -> bool:
            current, pods = self.get(), self.cluster.all(PODS, "ns")
            progressing = get_condition(current, "Progressing") or {}
            return (
                [p["spec"]["containers"][0]["image"] for p in pods] == [image] * replicas
                and progressing.get("reason") == "NewReplicaSetAvailable"
                and current["status"].get("updatedReplicas", 0) == replicas
                and current["status"]["observedGeneration"] == current["metadata"]["generation"]
                and condition_is_true(current, "Available")
            )

        return check

    def images(self) -> set[str]:
        return {s["spec"]["template"]["spec"]["containers"][0]["image"] for s in self.cluster.all(REPLICA_SETS)}

    def sets(self) -> list[Object]:
        return sorted(self.cluster.all(REPLICA_SETS, "ns"), key=lambda s: int(s["metadata"]["annotations"][REVISION]))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(SystemClock())
    async with running(world.cluster, "replicaset", "deployment"):
        yield world


async def test_rolling_update_keeps_its_bounds_and_undo_reuses_the_set(world: World) -> None:
    world.cluster.create(DEPLOYMENTS, deployment(8))
    await until(world.is_rolled_out("v1", 8))
    numbers: list[tuple[int, int]] = []

    def watch(change: Change) -> None:
        if change.kind is PODS:
            pods = [p for p in world.cluster.all(PODS) if not p["metadata"].get("deletionTimestamp")]
            numbers.append((len(pods), sum(condition_is_true(p, "Ready") for p in pods)))

    world.cluster.on_change.append(watch)
    world.set_image("v2")
    await until(world.is_rolled_out("v2", 8))
    assert max(n for n, _ in numbers) <= 10 and min(r for _, r in numbers) >= 6
    first, second = world.sets()
    assert second["metadata"]["annotations"][REVISION] == "2" == world.get()["metadata"]["annotations"][REVISION]
    assert second["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] in second["metadata"]["name"]
    world.set_image("v1")
    await until(world.is_rolled_out("v1", 8))
    assert {s["metadata"]["name"] for s in world.sets()} == {s["metadata"]["name"] for s in (first, second)}
    again = world.cluster.get(REPLICA_SETS, "ns", first["metadata"]["name"])["metadata"]["annotations"]
    assert again[REVISION] == "3" and again["deployment.kubernetes.io/revision-history"] == "1"


async def test_recreate_waits_for_the_old_pods(world: World) -> None:
    world.cluster.create(DEPLOYMENTS, deployment(3, strategy={"type": "Recreate"}))
    await until(world.is_rolled_out("v1", 3))
    world.nodes.holds = lambda pod: bool(pod["metadata"].get("deletionTimestamp"))
    world.set_image("v2")
    await until(lambda: all(p["metadata"].get("deletionTimestamp") for p in world.cluster.all(PODS)))
    await settle(world.cluster)
    assert {p["spec"]["containers"][0]["image"] for p in world.cluster.all(PODS)} == {"v1"}
    world.nodes.holds = lambda pod: False
    world.nodes.retry()
    await until(world.is_rolled_out("v2", 3))


async def test_a_stuck_rollout_keeps_serving_and_is_told_of() -> None:
    clock = ManualClock()
    world = World(clock)
    async with running(world.cluster, "replicaset", "deployment"):
        world.cluster.create(DEPLOYMENTS, deployment(4, progressDeadlineSeconds=60))
        await settle(world.cluster)
        assert world.is_rolled_out("v1", 4)()
        world.nodes.holds = lambda pod: (
            pod["spec"]["containers"][0]["image"] == "broken" and not pod["metadata"].get("deletionTimestamp")
        )
        world.set_image("broken")
        await settle(world.cluster)
        assert world.status()["availableReplicas"] == 3
        clock.advance(50)
        await settle(world.cluster)
        assert (get_condition(world.get(), "Progressing") or {})["status"] == "True"
        clock.advance(15)
        await settle(world.cluster)
        progressing = get_condition(world.get(), "Progressing") or {}
        assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")
        world.set_image("v3")
        await settle(world.cluster)
        assert world.is_rolled_out("v3", 4)()


async def test_a_paused_deployment_scales_but_does_not_roll(world: World) -> None:
    world.cluster.create(DEPLOYMENTS, deployment(2))
    await until(world.is_rolled_out("v1", 2))
    world.patch({"paused": True})
    await until(lambda: (get_condition(world.get(), "Progressing") or {})["reason"] == "DeploymentPaused")
    world.set_image("v2")
    world.patch({"replicas": 5})
    await until(lambda: world.status().get("readyReplicas") == 5)
    assert {p["spec"]["containers"][0]["image"] for p in world.cluster.all(PODS)} == {"v1"}
    world.patch({"paused": None})
    await until(world.is_rolled_out("v2", 5))


async def test_history_is_limited_and_rollover_leaves_no_set_behind(world: World) -> None:
    world.cluster.create(DEPLOYMENTS, deployment(3, revisionHistoryLimit=1))
    for number in range(1, 5):
        world.set_image(f"v{number}")
        await until(lambda wanted=f"v{number}": wanted in world.images())  # type: ignore[misc]
    await until(world.is_rolled_out("v4", 3))
    await until(lambda: len(world.sets()) == 2)
    assert sorted(s["spec"]["replicas"] for s in world.sets()) == [0, 3]


async def test_events_and_scaling_to_nothing(world: World) -> None:
    world.cluster.create(DEPLOYMENTS, deployment(2))
    await until(world.is_rolled_out("v1", 2))
    world.patch({"replicas": 0})
    await until(world.is_rolled_out("v1", 0))
    name = world.sets()[0]["metadata"]["name"]
    messages = [e["message"] for e in world.cluster.all(CORE_EVENTS) if e["reason"] == "ScalingReplicaSet"]
    assert messages == [f"Scaled up replica set {name} from 0 to 2", f"Scaled down replica set {name} from 2 to 0"]


async def test_a_set_with_the_same_template_is_adopted_with_exact_revisions(world: World) -> None:
    labels = {"app": "d", "pod-template-hash": "abc"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "v1"}]}}
    metadata = {"name": "mine", "namespace": "ns", "labels": labels, "annotations": {REVISION: "1234567890123456789"}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    world.cluster.create(REPLICA_SETS, {"metadata": metadata, "spec": spec})
    world.cluster.create(DEPLOYMENTS, deployment(1))
    await until(world.is_rolled_out("v1", 1))
    assert [s["metadata"]["name"] for s in world.sets()] == ["mine"]
    world.set_image("v2")
    await until(world.is_rolled_out("v2", 1))
    assert world.get()["metadata"]["annotations"][REVISION] == "1234567890123456790"


def one_set(name: str, replicas: int, available: int, **annotations: str) -> Object:
    metadata = {"name": name, "uid": name, "annotations": annotations, "creationTimestamp": name}
    return {"metadata": metadata, "spec": {"replicas": replicas}, "status": {"availableReplicas": available}}


def test_proportional_scaling_as_in_upstreams_example() -> None:
    """20 and 13: what conformance expects of a rollout of 8 + 5 that is scaled from 10 to 30."""
    kept = {DESIRED: "10", MAXIMUM: "13"}
    sets = Sets(one_set("2", 5, 0, **kept), [one_set("1", 8, 8, **kept)])
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    sizes = {s["metadata"]["name"]: n for s, n in proportional(deployment(30, strategy=strategy), sets)}
    assert sizes == {"1": 20, "2": 13}


def test_unhealthy_old_pods_go_first() -> None:
    kept = {DESIRED: "10", MAXIMUM: "13"}
    sets = Sets(one_set("3", 5, 5, **kept), [one_set("1", 5, 5, **kept), one_set("2", 3, 0, **kept)])
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 0}}
    step = plan(deployment(10, strategy=strategy), sets, old_pods_live=True)
    assert [(s["metadata"]["name"], n) for s, n in step.sizes] == [("2", 0)]
