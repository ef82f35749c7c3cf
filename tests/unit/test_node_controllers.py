"""Nodes and what hangs on them: podCIDRs, silence, taints, eviction, pods that nobody removes."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest

from apimachinery.clock import ManualClock
from apimachinery.meta import Object, format_micro_time, format_time, get_condition
from apimachinery.scheme import LEASES, NODES, PODS
from master.controller_manager.node_conditions import wanted_taints
from master.controller_manager.node_health import Probe
from master.controller_manager.node_ipam import CidrPool
from master.controller_manager.taint_eviction import eviction_time
from tests.fakes import FakeCluster
from tests.fakes.manager import running, settle
from tests.waiting import until

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}


def add_node(cluster: FakeCluster, name: str, ready: str = "True") -> None:
    node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}}
    cluster.create(NODES, node)
    stamp = format_time(cluster.clock.now())
    condition = {"type": "Ready", "status": ready, "lastHeartbeatTime": stamp, "lastTransitionTime": stamp}
    cluster.update(NODES, {**node, "status": {"conditions": [condition]}}, "status")
    metadata = {"name": name, "namespace": "kube-node-lease"}
    cluster.create(LEASES, {"metadata": metadata, "spec": {"renewTime": format_micro_time(cluster.clock.now())}})


def renew(cluster: FakeCluster, name: str) -> None:
    stamp = format_micro_time(cluster.clock.now())
    cluster.patch(LEASES, "kube-node-lease", name, {"spec": {"renewTime": stamp}}, "application/merge-patch+json")


def add_pod(cluster: FakeCluster, name: str, node: str, **spec: object) -> None:
    metadata = {"name": name, "namespace": "ns"}
    cluster.create(PODS, {"metadata": metadata, "spec": {"containers": [], "nodeName": node, **spec}})
    pod = cluster.get(PODS, "ns", name)
    conditions = [{"type": "Ready", "status": "True"}]
    cluster.update(PODS, {**pod, "status": {"phase": "Running", "conditions": conditions}}, "status")


def taints(cluster: FakeCluster, name: str) -> set[tuple[str, str]]:
    found = cluster.get(NODES, "", name)["spec"].get("taints") or []
    return {(t["key"].removeprefix("node.kubernetes.io/"), t["effect"]) for t in found}


# podCIDRs


def test_parts_are_distinct_kept_and_recycled() -> None:
    pool = CidrPool(ip_network("10.0.0.0/22"), 24)
    assert pool.occupy("10.0.1.0/24", "old")
    assert [pool.take(n) for n in ("a", "b", "a", "c", "d")] == [
        "10.0.0.0/24",
        "10.0.2.0/24",
        "10.0.0.0/24",
        "10.0.3.0/24",
        None,
    ]
    assert not pool.occupy("10.0.0.0/24", "b")
    pool.release("old")
    assert pool.take("d") == "10.0.1.0/24"


async def test_nodes_get_parts_of_the_cluster_network() -> None:
    cluster = FakeCluster()
    async with running(cluster, "node-ipam-controller", cluster_cidr="10.244.0.0/16"):
        for n in range(5):
            add_node(cluster, f"n{n}")
        await until(lambda: len({c["spec"].get("podCIDR") for c in cluster.all(NODES)} - {None}) == 5)
        kept = cluster.get(NODES, "", "n0")["spec"]
        assert kept["podCIDRs"] == [kept["podCIDR"]]


# Silence


async def test_a_silent_node_is_unknown_tainted_and_its_pods_take_no_traffic() -> None:
    cluster = FakeCluster(ManualClock())
    clock = cluster.clock
    assert isinstance(clock, ManualClock)
    for name in ("a", "b"):
        add_node(cluster, name)
    add_pod(cluster, "p", "a")
    async with running(cluster, "node-lifecycle-controller"):
        await settle(cluster)
        for _ in range(5):
            clock.advance(9)
            renew(cluster, "b")
            await settle(cluster, 20)
        ready = get_condition(cluster.get(NODES, "", "a"), "Ready") or {}
        assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
        assert taints(cluster, "a") == {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}
        assert (get_condition(cluster.get(PODS, "ns", "p"), "Ready") or {})["status"] == "False"
        assert taints(cluster, "b") == set()
        node = cluster.get(NODES, "", "a")
        node["status"]["conditions"] = [{"type": "Ready", "status": "True", "lastHeartbeatTime": "now"}]
        cluster.update(NODES, node, "status")  # its agent is back
        renew(cluster, "a")
        await until(lambda: taints(cluster, "a") == set())


async def test_when_every_node_is_silent_no_pod_is_evicted() -> None:
    cluster = FakeCluster(ManualClock())
    clock = cluster.clock
    assert isinstance(clock, ManualClock)
    for name in ("a", "b"):
        add_node(cluster, name)
    async with running(cluster, "node-lifecycle-controller"):
        await settle(cluster)
        clock.advance(41)
        await settle(cluster)
        assert taints(cluster, "a") == taints(cluster, "b") == {("unreachable", "NoSchedule")}


def test_an_agent_is_down_after_three_failures_if_it_ever_answered() -> None:
    never, once = Probe(), Probe()
    assert not any(never.note(ok=False, now=n) for n in range(9))
    once.note(ok=True, now=0)
    assert [once.note(ok=False, now=n) for n in (1, 2, 3, 4)] == [False, False, True, False]
    assert once.down_since == 1
    assert once.note(ok=True, now=5)
    assert once.down_since is None


def test_taints_follow_conditions_and_leave_others_alone() -> None:
    own = {"key": "dedicated", "value": "x", "effect": "NoSchedule"}
    stale = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    conditions = [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}]
    node = {
        "metadata": {},
        "spec": {"taints": [own, stale], "unschedulable": True},
        "status": {"conditions": conditions},
    }
    found = wanted_taints(node, NOW, evict=True) or []
    assert [t["key"] for t in found] == [
        "dedicated",
        "node.kubernetes.io/disk-pressure",
        "node.kubernetes.io/unschedulable",
    ]
    node["spec"]["taints"] = found  # type: ignore[index]
    assert wanted_taints(node, NOW, evict=True) is None


# Eviction


@pytest.mark.parametrize(
    ("tolerations", "seconds"),
    [
        ([], 0),
        ([{"key": UNREACHABLE["key"], "operator": "Exists"}], None),
        ([{"key": UNREACHABLE["key"], "operator": "Exists", "tolerationSeconds": 300}], 300),
        ([{"operator": "Exists", "tolerationSeconds": -1}], 0),
        ([{"key": "other", "operator": "Exists"}], 0),
        ([{"key": UNREACHABLE["key"], "operator": "Exists", "effect": "NoSchedule"}], 0),
    ],
)
def test_when_a_pod_must_go(tolerations: list[Object], seconds: int | None) -> None:
    when = eviction_time({"spec": {"tolerations": tolerations}}, [(UNREACHABLE, NOW)])
    assert when == (None if seconds is None else NOW + timedelta(seconds=seconds))


async def test_pods_go_when_their_time_is_up_unless_the_taint_is_taken_away() -> None:
    cluster = FakeCluster(ManualClock())
    clock = cluster.clock
    assert isinstance(clock, ManualClock)
    add_node(cluster, "a")
    for name, seconds in (("soon", 10), ("later", 60)):
        tolerations = [{"key": "k", "operator": "Exists", "tolerationSeconds": seconds}]
        add_pod(cluster, name, "a", tolerations=tolerations)
    async with running(cluster, "taint-eviction-controller"):
        taint = {"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}
        cluster.patch(NODES, "", "a", taint, "application/merge-patch+json")
        await settle(cluster, 50)
        clock.advance(11)
        await until(lambda: "deletionTimestamp" in cluster.get(PODS, "ns", "soon")["metadata"])
        mark = get_condition(cluster.get(PODS, "ns", "soon"), "DisruptionTarget") or {}
        assert mark["reason"] == "DeletionByTaintManager"
        cluster.patch(NODES, "", "a", {"spec": {"taints": None}}, "application/merge-patch+json")
        await settle(cluster, 50)
        clock.advance(100)
        await settle(cluster, 50)
        assert "deletionTimestamp" not in cluster.get(PODS, "ns", "later")["metadata"]


# Pod GC


async def test_pods_of_a_deleted_node_go_after_the_quarantine() -> None:
    cluster = FakeCluster(ManualClock())
    clock = cluster.clock
    assert isinstance(clock, ManualClock)
    add_node(cluster, "a")
    add_node(cluster, "b")
    add_pod(cluster, "p", "a")
    add_pod(cluster, "q", "b")
    async with running(cluster, "pod-garbage-collector-controller"):
        await settle(cluster, 50)
        cluster.delete(NODES, "", "a")
        await settle(cluster, 50)
        assert cluster.find(PODS, "ns", "p") is not None
        for _ in range(4):
            clock.advance(20)
            await settle(cluster, 50)
        assert cluster.find(PODS, "ns", "p") is None
        assert cluster.find(PODS, "ns", "q") is not None
