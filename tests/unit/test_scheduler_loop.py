"""The loop against an in-memory cluster: binding, refusals, waking, failed bindings, preemption."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from apimachinery import errors
from apimachinery.client.api import ApiClient
from apimachinery.client.informer import InformerFactory
from apimachinery.meta import annotations_of, get_condition
from apimachinery.persistent_volumes import BIND_COMPLETED, NO_PROVISIONER, SELECTED_NODE, STORAGE_CLASSES
from apimachinery.scheme import CORE_EVENTS, NODES, PODS, Kind
from apimachinery.scheme import PERSISTENT_VOLUME_CLAIMS as CLAIMS
from apimachinery.scheme import PERSISTENT_VOLUMES as VOLUMES
from master.scheduler.explain import explain
from master.scheduler.profile import DEFAULT_PROFILE
from master.scheduler.scheduler import Scheduler
from tests.fakes.cluster import FakeCluster
from tests.fakes.manager import running
from tests.fakes.rpc import FakeRpc
from tests.scheduling import node, pod
from tests.waiting import until

Object = dict[str, Any]


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    return FakeCluster()


@asynccontextmanager
async def scheduling(cluster: FakeCluster) -> AsyncIterator[Scheduler]:
    client = ApiClient(FakeRpc(cluster), user_agent="test")
    informers = InformerFactory(client)
    scheduler = Scheduler(client, informers, DEFAULT_PROFILE)
    watching = asyncio.create_task(informers.run())
    await informers.wait_synced()
    running = asyncio.create_task(scheduler.run())
    try:
        yield scheduler
    finally:
        for task in (running, watching):
            task.cancel()
        await asyncio.gather(running, watching, return_exceptions=True)
        await client.close()


def add_node(cluster: FakeCluster, obj: Object) -> None:
    cluster.create(NODES, obj)
    cluster.update(NODES, obj, "status")


def node_of(cluster: FakeCluster, name: str) -> str:
    found = cluster.find(PODS, "default", name)
    return (found or {"spec": {}})["spec"].get("nodeName", "")


def said(cluster: FakeCluster, reason: str) -> list[str]:
    return [e["message"] for e in cluster.all(CORE_EVENTS) if e["reason"] == reason]


async def test_pods_are_bound_and_told_so(cluster: FakeCluster) -> None:
    add_node(cluster, node("a"))
    add_node(cluster, node("b"))
    async with scheduling(cluster):
        for n in range(20):
            cluster.create(PODS, pod(f"p{n}", cpu="100m"))
        await until(lambda: all(node_of(cluster, f"p{n}") for n in range(20)))
        await until(lambda: len(said(cluster, "Scheduled")) == 20)
    assert sorted(node_of(cluster, f"p{n}") for n in range(20)) == ["a"] * 10 + ["b"] * 10
    assert f"Successfully assigned default/p0 to {node_of(cluster, 'p0')}" in said(cluster, "Scheduled")


async def test_a_pod_that_fits_nowhere_says_why_once_and_is_bound_when_room_is_made(cluster: FakeCluster) -> None:
    add_node(cluster, node("a", cpu="1"))
    async with scheduling(cluster) as scheduler:
        cluster.create(PODS, pod("big", cpu="1"))
        await until(lambda: node_of(cluster, "big") == "a")
        cluster.create(PODS, pod("waits", cpu="1"))
        message = (
            "0/1 nodes are available: 1 Insufficient cpu. "
            "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        )
        await until(lambda: said(cluster, "FailedScheduling") == [message])
        condition = get_condition(cluster.get(PODS, "default", "waits"), "PodScheduled") or {}
        assert (condition["status"], condition["reason"], condition["message"]) == ("False", "Unschedulable", message)
        answer = explain(scheduler.engine, *_pod_and_shape(scheduler, "waits"))
        assert (answer.state, answer.summary) == ("Unschedulable", message)
        assert answer.nodes[0].detail == "cpu: requested 1, free 0 of 1"
        cluster.finish_deletion("default", "big")
        await until(lambda: node_of(cluster, "waits") == "a")


def _pod_and_shape(scheduler: Scheduler, name: str) -> tuple[Object | None, Any]:
    found = scheduler.feed.pods.store.get("default", name)
    return found, scheduler.feed.shapes.of(found) if found else None


async def test_a_new_node_wakes_waiting_pods(cluster: FakeCluster) -> None:
    async with scheduling(cluster):
        cluster.create(PODS, pod("p", nodeSelector={"disk": "ssd"}))
        await until(lambda: said(cluster, "FailedScheduling") == ["no nodes available to schedule pods"])
        add_node(cluster, node("a"))
        add_node(cluster, node("b", labels={"disk": "ssd"}))
        await until(lambda: node_of(cluster, "p") == "b")


async def test_other_schedulers_pods_and_gated_pods_are_left_alone(cluster: FakeCluster) -> None:
    add_node(cluster, node("a"))
    async with scheduling(cluster):
        cluster.create(PODS, pod("other", schedulerName="mine"))
        cluster.create(PODS, pod("gated", schedulingGates=[{"name": "later"}]))
        cluster.create(PODS, pod("p"))
        await until(lambda: node_of(cluster, "p") == "a")
        assert node_of(cluster, "other") == node_of(cluster, "gated") == ""
        cluster.patch(PODS, "default", "gated", {"spec": {"schedulingGates": None}}, "application/merge-patch+json")
        await until(lambda: node_of(cluster, "gated") == "a")


async def test_a_failed_binding_is_forgotten_and_tried_again(cluster: FakeCluster) -> None:
    add_node(cluster, node("a", cpu="1"))
    real, failures = cluster.bind, [errors.Conflict("try again")]

    def bind(namespace: str, name: str, target: str, uid: str = "") -> Object:
        if failures:
            raise failures.pop()
        return real(namespace, name, target, uid)

    cluster.bind = bind  # type: ignore[method-assign]
    async with scheduling(cluster) as scheduler:
        cluster.create(PODS, pod("p", cpu="1"))
        await until(lambda: not failures)
        await until(lambda: (q := scheduler.queue.get(("default", "p"))) is not None and q.place == "backoff")
        assert not scheduler.engine.snapshot.placements
        scheduler.queue.wake([])
        await until(lambda: node_of(cluster, "p") == "a")


async def test_a_more_important_pod_evicts_and_takes_the_place(cluster: FakeCluster) -> None:
    add_node(cluster, node("a", cpu="1"))
    deleted: list[str] = []

    def note(verb: str, kind: Kind, name: str, body: Object | None) -> None:
        if verb == "delete":
            deleted.append(name)

    async with scheduling(cluster):
        cluster.create(PODS, pod("low", cpu="1", priority=1))
        await until(lambda: node_of(cluster, "low") == "a")
        cluster.intercept = note
        cluster.create(PODS, pod("high", cpu="1", priority=9))
        await until(lambda: deleted == ["low"])
        condition = get_condition(cluster.get(PODS, "default", "low"), "DisruptionTarget") or {}
        assert (condition["status"], condition["reason"]) == ("True", "PreemptionByScheduler")
        await until(lambda: cluster.get(PODS, "default", "high")["status"].get("nominatedNodeName") == "a")
        cluster.create(PODS, pod("later", cpu="1", priority=5))  # must not take the place that is being made
        cluster.finish_deletion("default", "low")
        await until(lambda: node_of(cluster, "high") == "a")
        assert node_of(cluster, "later") == ""


def _delayed_claim(cluster: FakeCluster, name: str, provisioner: str) -> None:
    mode = {"provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"}
    if cluster.find(STORAGE_CLASSES, "", "slow") is None:
        cluster.create(STORAGE_CLASSES, {"metadata": {"name": "slow"}, **mode})
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "slow"}
    cluster.create(CLAIMS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})


def _mounting(name: str, claim: str) -> Object:
    obj = pod(name, cpu="100m")
    obj["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]
    return obj


def _local_volume(name: str, on: str, **spec: Any) -> Object:
    needs = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [on]}]}
    base = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "slow"}
    affinity = {"required": {"nodeSelectorTerms": [needs]}}
    return {"metadata": {"name": name}, "spec": {**base, "local": {"path": "/x"}, "nodeAffinity": affinity, **spec}}


async def test_a_pod_waits_for_the_volume_that_is_made_on_its_node(cluster: FakeCluster) -> None:
    for name in ("a", "b"):
        add_node(cluster, node(name, labels={"kubernetes.io/hostname": name}))
    _delayed_claim(cluster, "c", "x.io/y")
    async with scheduling(cluster):
        cluster.create(PODS, _mounting("p", "c"))
        await until(lambda: SELECTED_NODE in annotations_of(cluster.get(CLAIMS, "default", "c")))
        claim = cluster.get(CLAIMS, "default", "c")
        chosen = annotations_of(claim)[SELECTED_NODE]
        assert not node_of(cluster, "p")
        cluster.create(VOLUMES, _local_volume("v", chosen))
        claim["spec"]["volumeName"] = "v"
        claim["metadata"]["annotations"][BIND_COMPLETED] = "yes"
        cluster.update(CLAIMS, claim)
        await until(lambda: node_of(cluster, "p") == chosen)


async def test_pods_take_volumes_that_are_there_each_its_own(cluster: FakeCluster) -> None:
    for name in ("a", "b", "c"):
        add_node(cluster, node(name, labels={"kubernetes.io/hostname": name}))
    for number, on in enumerate(("a", "b")):
        cluster.create(VOLUMES, _local_volume(f"v{number}", on))
    async with scheduling(cluster), running(cluster, "persistentvolume-binder-controller"):
        for number in range(3):
            _delayed_claim(cluster, f"c{number}", NO_PROVISIONER)
            cluster.create(PODS, _mounting(f"p{number}", f"c{number}"))
        await until(lambda: sorted(filter(None, (node_of(cluster, f"p{n}") for n in range(3)))) == ["a", "b"])
        last = "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind."
        await until(lambda: any(message.startswith(last) for message in said(cluster, "FailedScheduling")))
        cluster.create(VOLUMES, _local_volume("v2", "c"))
        await until(lambda: all(node_of(cluster, f"p{n}") for n in range(3)))
    for number in range(3):
        claim = cluster.get(CLAIMS, "default", f"c{number}")
        volume = cluster.get(VOLUMES, "", claim["spec"]["volumeName"])
        terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        assert terms[0]["matchExpressions"][0]["values"] == [node_of(cluster, f"p{number}")]


async def test_a_pod_goes_where_its_bound_volume_is(cluster: FakeCluster) -> None:
    for name in ("a", "b", "c"):
        add_node(cluster, node(name, labels={"kubernetes.io/hostname": name}))
    _delayed_claim(cluster, "c", "x.io/y")
    claim = cluster.get(CLAIMS, "default", "c")
    claim["spec"]["volumeName"], claim["metadata"]["annotations"] = "v", {BIND_COMPLETED: "yes"}
    cluster.update(CLAIMS, claim)
    cluster.create(VOLUMES, _local_volume("v", "b"))
    async with scheduling(cluster):
        cluster.create(PODS, _mounting("p", "c"))
        await until(lambda: node_of(cluster, "p") == "b")
