"""Volumes are attached where pods need them, and stay until nobody holds them."""

from datetime import timedelta
from typing import Any

from apimachinery.clock import ManualClock
from apimachinery.csi import CSI_DRIVERS, VOLUME_ATTACHMENTS, attachment_name, unique_name
from apimachinery.scheme import CORE_EVENTS, NODES, PODS
from apimachinery.scheme import PERSISTENT_VOLUME_CLAIMS as CLAIMS
from apimachinery.scheme import PERSISTENT_VOLUMES as VOLUMES
from master.controller_manager.attach_plan import Needed, plan
from tests.fakes import FakeCluster
from tests.fakes.manager import running, settle
from tests.waiting import until

CONTROLLER = "persistentvolume-attach-detach-controller"
DRIVER = "d.test"


def cluster_with_volume(mode: str = "ReadWriteOnce") -> FakeCluster:
    cluster = FakeCluster()
    for name in ("n1", "n2"):
        cluster.create(NODES, {"metadata": {"name": name}, "spec": {}})
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        cluster.update(NODES, cluster.get(NODES, "", name) | {"status": ready}, subresource="status")
    claim = {"metadata": {"name": "c", "namespace": "a"}, "spec": {"volumeName": "v"}}
    uid = cluster.create(CLAIMS, claim, "a")["metadata"]["uid"]
    spec = {"csi": {"driver": DRIVER, "volumeHandle": "h"}, "accessModes": [mode]}
    spec["claimRef"] = {"namespace": "a", "name": "c", "uid": uid}
    cluster.create(VOLUMES, {"metadata": {"name": "v"}, "spec": spec})
    return cluster


def run(cluster: FakeCluster, name: str, node: str) -> None:
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}]
    pod = {"metadata": {"name": name, "namespace": "a"}, "spec": {"nodeName": node, "volumes": volumes}}
    cluster.create(PODS, pod, "a")


def attachment(cluster: FakeCluster, node: str) -> Any:
    return cluster.find(VOLUME_ATTACHMENTS, "", attachment_name(DRIVER, "h", node))


def say_attached(cluster: FakeCluster, node: str) -> None:
    found = attachment(cluster, node)
    cluster.update(VOLUME_ATTACHMENTS, found | {"status": {"attached": True}}, subresource="status")


def say_in_use(cluster: FakeCluster, node: str, *names: str) -> None:
    found = cluster.get(NODES, "", node)
    status = found["status"] | {"volumesInUse": list(names)}
    cluster.update(NODES, found | {"status": status}, subresource="status")


def shown(cluster: FakeCluster, node: str) -> list[str]:
    return [v["name"] for v in cluster.get(NODES, "", node)["status"].get("volumesAttached") or ()]


async def test_a_volume_goes_from_node_to_node_when_the_first_has_let_it_go() -> None:
    cluster, unique = cluster_with_volume(), unique_name(DRIVER, "h")
    async with running(cluster, CONTROLLER):
        run(cluster, "p1", "n1")
        await until(lambda: attachment(cluster, "n1"))
        assert attachment(cluster, "n1")["spec"]["source"] == {"persistentVolumeName": "v"}
        assert shown(cluster, "n1") == []
        say_attached(cluster, "n1")
        await until(lambda: shown(cluster, "n1") == [unique])
        say_in_use(cluster, "n1", unique)
        run(cluster, "p2", "n2")
        await until(lambda: any("Multi-Attach" in e.get("message", "") for e in cluster.all(CORE_EVENTS)))
        cluster.finish_deletion("a", "p1")
        await settle(cluster)
        assert attachment(cluster, "n1") and not attachment(cluster, "n2")
        say_in_use(cluster, "n1")
        await until(lambda: attachment(cluster, "n2"))
        assert attachment(cluster, "n1") is None and shown(cluster, "n1") == []


async def test_several_nodes_share_what_may_be_shared_and_foreign_attachments_stay() -> None:
    cluster = cluster_with_volume("ReadWriteMany")
    foreign = {"attacher": "x", "nodeName": "n1", "source": {"persistentVolumeName": "v"}}
    cluster.create(VOLUME_ATTACHMENTS, {"metadata": {"name": "mine"}, "spec": foreign})
    async with running(cluster, CONTROLLER):
        run(cluster, "p1", "n1")
        run(cluster, "p2", "n2")
        await until(lambda: attachment(cluster, "n1") and attachment(cluster, "n2"))
        await settle(cluster)
        assert cluster.find(VOLUME_ATTACHMENTS, "", "mine")


async def test_a_driver_that_attaches_nothing_is_left_alone() -> None:
    cluster = cluster_with_volume()
    cluster.create(CSI_DRIVERS, {"metadata": {"name": DRIVER}, "spec": {"attachRequired": False}})
    async with running(cluster, CONTROLLER):
        run(cluster, "p1", "n1")
        await settle(cluster)
        assert cluster.all(VOLUME_ATTACHMENTS) == []


def test_a_dead_node_loses_its_volumes_after_six_minutes_or_at_once_when_out_of_service() -> None:
    name, now = attachment_name(DRIVER, "h", "n1"), ManualClock().now()
    there = [{"metadata": {"name": name}, "spec": {}, "status": {"attached": True}}]
    node = {"metadata": {"name": "n1"}, "status": {"volumesInUse": [unique_name(DRIVER, "h")]}}

    def detached(minutes: float, *, dead: bool = False, healthy: bool = False) -> bool:
        since = {name: now - timedelta(minutes=minutes)}
        return bool(plan("n1", node, {}, there, since, now, dead=dead, healthy=healthy).detach)

    assert not detached(5) and detached(6) and not detached(60, healthy=True) and detached(0, dead=True)
    assert plan("n1", node, {}, there, {}, now, dead=False, healthy=False).wake == now + timedelta(minutes=6)
    volume = {"metadata": {"name": "v"}, "spec": {"csi": {"driver": DRIVER, "volumeHandle": "h"}}}
    assert plan("n1", node, {name: Needed(volume, ())}, there, {}, now, dead=True, healthy=False).detach == []
