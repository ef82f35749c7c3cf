"""ReplicaSets: how many pods, which go first, adoption, failures, own writes."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apimachinery import errors
from apimachinery.clock import ManualClock
from apimachinery.meta import Object, format_time, get_condition
from apimachinery.scheme import CORE_EVENTS, PODS, REPLICA_SETS, Kind
from master.controller_manager.replicaset import plan
from tests import fakes
from tests.fakes.manager import running, settle
from tests.fakes.nodes import FakeNodes
from tests.waiting import until

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def replica_set(replicas: int, **spec: object) -> Object:
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body = {"replicas": replicas, "selector": {"matchLabels": {"app": "x"}}, "template": template, **spec}
    return {"metadata": {"name": "rs", "namespace": "ns", "generation": 1, "uid": "rs-uid"}, "spec": body}


def pod(
    name: str, *, node: str = "n", ready: bool = True, age: float = 3600, cost: int = 0, restarts: int = 0
) -> Object:
    stamp = format_time(NOW - timedelta(seconds=age))
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": stamp}] if ready else []
    metadata = {"name": name, "uid": name, "creationTimestamp": stamp}
    metadata["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": str(cost)}  # type: ignore[assignment]
    statuses = [{"restartCount": restarts}]
    status = {"phase": "Running" if node else "Pending", "conditions": conditions, "containerStatuses": statuses}
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": status}


def test_what_is_worth_least_goes_first() -> None:
    in_order = [
        pod("unassigned", node="", ready=False),
        pod("not-ready", ready=False),
        pod("cheap", cost=-5),
        pod("crowded", node="full"),
        pod("young", age=60),
        pod("restarted", restarts=9),
        pod("old"),
    ]
    related = [*in_order, pod("x", node="full"), *[pod(str(i), node="full") for i in range(20)]]
    for keep in range(len(in_order)):
        going = plan(keep, list(reversed(in_order)), related, NOW).delete
        assert [p["metadata"]["name"] for p in going] == [
            p["metadata"]["name"] for p in in_order[: len(in_order) - keep]
        ]


def test_creates_are_bounded() -> None:
    assert plan(2000, [], [], NOW).create == 500


def count(cluster: fakes.FakeCluster) -> int:
    return len(cluster.all(PODS, "ns"))


def status(cluster: fakes.FakeCluster) -> Object:
    found: Object = cluster.get(REPLICA_SETS, "ns", "rs").get("status") or {}
    return found


def has_status(cluster: fakes.FakeCluster, **numbers: int) -> Callable[[], bool]:
    return lambda: all(status(cluster).get(k) == v for k, v in numbers.items())


async def test_it_scales_up_down_and_replaces() -> None:
    cluster = fakes.FakeCluster()
    FakeNodes(cluster, "a", "b")
    cluster.create(REPLICA_SETS, replica_set(10))
    async with running(cluster, "replicaset"):
        await until(has_status(cluster, replicas=10, readyReplicas=10, availableReplicas=10, fullyLabeledReplicas=10))
        assert count(cluster) == 10
        victim = cluster.all(PODS, "ns")[0]["metadata"]["name"]
        cluster.delete(PODS, "ns", victim)
        await until(lambda: count(cluster) == 10 and cluster.find(PODS, "ns", victim) is None)
        cluster.patch(REPLICA_SETS, "ns", "rs", {"spec": {"replicas": 3}}, "application/merge-patch+json")
        await until(has_status(cluster, replicas=3, observedGeneration=2))
        await settle(cluster)
        assert count(cluster) == 3


async def test_no_pod_is_made_twice_over_breaks_and_restarts() -> None:
    cluster = fakes.FakeCluster()
    FakeNodes(cluster, "a")
    made = 0

    def intercept(verb: str, kind: Kind, name: str, body: Object | None) -> None:
        nonlocal made
        if kind is PODS and verb == "create":
            made += 1
            if made % 7 == 0:
                cluster.break_streams()

    cluster.intercept = intercept
    cluster.create(REPLICA_SETS, replica_set(40))
    async with running(cluster, "replicaset"):
        await until(has_status(cluster, readyReplicas=40))
        await settle(cluster)
    async with running(cluster, "replicaset"):
        await settle(cluster)
    assert (made, count(cluster)) == (40, 40)


async def test_orphans_are_adopted_and_strangers_released() -> None:
    cluster = fakes.FakeCluster()
    cluster.create(PODS, {"metadata": {"name": "orphan", "namespace": "ns", "labels": {"app": "x"}}, "spec": {}})
    cluster.create(REPLICA_SETS, replica_set(2))
    async with running(cluster, "replicaset"):
        await until(lambda: count(cluster) == 2)
        orphan = cluster.get(PODS, "ns", "orphan")
        assert orphan["metadata"]["ownerReferences"][0]["name"] == "rs"
        patch = {"metadata": {"labels": {"app": "y"}}}
        cluster.patch(PODS, "ns", "orphan", patch, "application/merge-patch+json")
        await until(lambda: not cluster.get(PODS, "ns", "orphan")["metadata"].get("ownerReferences"))
        await until(lambda: count(cluster) == 3)


async def test_a_refusal_is_told_and_ends_with_its_cause() -> None:
    cluster = fakes.FakeCluster()
    refuse = True

    def intercept(verb: str, kind: Kind, name: str, body: Object | None) -> None:
        if kind is PODS and verb == "create" and refuse:
            raise errors.Forbidden('pods "rs-" is forbidden: exceeded quota: q')

    cluster.intercept = intercept
    cluster.create(REPLICA_SETS, replica_set(1))
    async with running(cluster, "replicaset"):
        await until(lambda: get_condition({"status": status(cluster)}, "ReplicaFailure"))
        condition = get_condition({"status": status(cluster)}, "ReplicaFailure") or {}
        assert (condition["reason"], condition["status"]) == ("FailedCreate", "True")
        told = {"reason": "FailedCreate", "message": 'Error creating: pods "rs-" is forbidden: exceeded quota: q'}
        await until(lambda: any(told.items() <= e.items() for e in cluster.all(CORE_EVENTS)))
        refuse = False
        await until(lambda: count(cluster) == 1 and not status(cluster).get("conditions"))


async def test_available_after_min_ready_seconds() -> None:
    clock = ManualClock()
    cluster = fakes.FakeCluster(clock)
    FakeNodes(cluster, "a")
    cluster.create(REPLICA_SETS, replica_set(1, minReadySeconds=30))
    async with running(cluster, "replicaset"):
        await until(has_status(cluster, readyReplicas=1))
        await settle(cluster)
        assert status(cluster)["availableReplicas"] == 0
        clock.advance(31)
        await until(has_status(cluster, availableReplicas=1))
