"""DaemonSets: one pod on every eligible node, rolling updates, rollback, failed pods."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from apimachinery.meta import Object, condition_is_true
from apimachinery.scheme import CORE_EVENTS, DAEMON_SETS, NODES, PODS
from master.controller_manager.controller_revisions import CONTROLLER_REVISIONS
from master.controller_manager.daemonset_plan import pod_for_node, should_run
from tests import fakes
from tests.fakes.cluster import Change
from tests.fakes.manager import running, settle
from tests.fakes.nodes import FakeNodes
from tests.waiting import until

MERGE = "application/merge-patch+json"


def daemon_set(image: str = "v1", *, strategy: Any = None, **pod_spec: Any) -> Object:
    labels = {"app": "ds"}
    spec = {"containers": [{"name": "c", "image": image}], **pod_spec}
    body = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}}
    body |= {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": strategy or {"maxUnavailable": 1}}}
    return {"metadata": {"name": "ds", "namespace": "ns"}, "spec": body}


class World:
    def __init__(self) -> None:
        self.cluster = fakes.FakeCluster()
        self.nodes = FakeNodes(self.cluster, "a", "b", "c")

    def images(self) -> dict[str, str]:
        return {p["spec"].get("nodeName"): p["spec"]["containers"][0]["image"] for p in self.cluster.all(PODS)}

    def status(self) -> Object:
        found: Object = self.cluster.get(DAEMON_SETS, "ns", "ds").get("status") or {}
        return found

    def patch(self, spec: Object) -> None:
        self.cluster.patch(DAEMON_SETS, "ns", "ds", {"spec": spec}, MERGE)

    def set_image(self, image: str) -> None:
        self.patch({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}})

    def patch_node(self, name: str, patch: Object) -> None:
        self.cluster.patch(NODES, "", name, patch, MERGE)

    async def rolled_out(self, image: str) -> None:
        everywhere = dict.fromkeys("abc", image)
        await until(lambda: self.images() == everywhere and self.status().get("updatedNumberScheduled") == 3)
        await until(lambda: self.status().get("numberAvailable") == 3 and len(self.cluster.all(PODS)) == 3)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    async with running(world.cluster, "daemonset"):
        yield world


async def test_one_pod_a_node_as_nodes_come_change_and_go(world: World) -> None:
    world.cluster.create(DAEMON_SETS, daemon_set(nodeSelector={"disk": "ssd"}))
    for name in "ab":
        world.patch_node(name, {"metadata": {"labels": {"disk": "ssd"}}})
    await until(lambda: set(world.images()) == {"a", "b"} and world.status().get("numberReady") == 2)
    world.patch_node("c", {"metadata": {"labels": {"disk": "ssd"}}})
    world.patch_node("a", {"metadata": {"labels": {"disk": None}}})
    await until(lambda: set(world.images()) == {"b", "c"})
    world.patch_node("c", {"spec": {"taints": [{"key": "x", "effect": "NoExecute"}]}})
    world.patch_node("b", {"spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}})
    await until(lambda: set(world.images()) == {"b"})
    await until(lambda: world.status()["desiredNumberScheduled"] == 0 and world.status()["numberMisscheduled"] == 1)


async def test_nodes_in_trouble_keep_their_daemons() -> None:
    node: Object = {"metadata": {"name": "n"}, "spec": {"taints": []}}
    for key, effect in (("not-ready", "NoExecute"), ("unschedulable", "NoSchedule"), ("disk-pressure", "NoSchedule")):
        node["spec"]["taints"].append({"key": f"node.kubernetes.io/{key}", "effect": effect})
    assert should_run(daemon_set(), node) == (True, True)
    node["spec"]["taints"].append({"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"})
    assert should_run(daemon_set(), node) == (False, True)
    assert should_run(daemon_set(hostNetwork=True), node) == (True, True)


def test_the_pin_is_added_to_every_term_of_the_templates_affinity() -> None:
    terms = [{"matchExpressions": [{"key": k, "operator": "Exists"}]} for k in "xy"]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    owner = daemon_set(affinity=affinity)
    owner["metadata"]["uid"] = "u"
    pod = pod_for_node(owner, "n", "h")
    required = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    pin = {"key": "metadata.name", "operator": "In", "values": ["n"]}
    assert [t["matchFields"] for t in required["nodeSelectorTerms"]] == [[pin], [pin]]
    assert "matchFields" not in terms[0] and "nodeName" not in pod["spec"]


@pytest.mark.parametrize(("strategy", "least"), [({"maxUnavailable": 1}, 2), ({"maxUnavailable": 0, "maxSurge": 1}, 3)])
async def test_rolling_update_and_rollback(world: World, strategy: Object, least: int) -> None:
    world.cluster.create(DAEMON_SETS, daemon_set(strategy=strategy))
    await world.rolled_out("v1")
    fewest = 3

    def watch(change: Change) -> None:
        nonlocal fewest
        pods = [p for p in world.cluster.all(PODS) if condition_is_true(p, "Ready")]
        fewest = min(fewest, len({p["spec"]["nodeName"] for p in pods if not p["metadata"].get("deletionTimestamp")}))

    world.cluster.on_change.append(watch)
    world.set_image("v2")
    await world.rolled_out("v2")
    assert fewest >= least
    world.set_image("v1")
    await world.rolled_out("v1")
    revisions = world.cluster.all(CONTROLLER_REVISIONS)
    images = {r["revision"]: r["data"]["spec"]["template"]["spec"]["containers"][0]["image"] for r in revisions}
    assert images == {2: "v2", 3: "v1"}
    in_order = [orjson.dumps(r["data"], option=orjson.OPT_SORT_KEYS) for r in revisions]
    assert [orjson.dumps(r["data"]) for r in revisions] == in_order


async def test_rollback_restarts_only_what_has_changed(world: World) -> None:
    world.cluster.create(DAEMON_SETS, daemon_set())
    await world.rolled_out("v1")
    before = {p["metadata"]["uid"] for p in world.cluster.all(PODS)}
    world.nodes.holds = lambda pod: pod["spec"]["containers"][0]["image"] == "broken" and not _deleting(pod)
    world.set_image("broken")
    await until(lambda: "broken" in world.images().values())
    await settle(world.cluster)
    world.set_image("v1")
    await world.rolled_out("v1")
    assert len(before & {p["metadata"]["uid"] for p in world.cluster.all(PODS)}) == 2


def _deleting(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


async def test_a_failed_pod_is_replaced_and_told_of(world: World) -> None:
    world.cluster.create(DAEMON_SETS, daemon_set())
    await world.rolled_out("v1")
    failed = world.cluster.all(PODS)[0]
    world.nodes.finish("ns", failed["metadata"]["name"], exit_code=1)
    await until(lambda: world.cluster.find(PODS, "ns", failed["metadata"]["name"]) is None)
    await world.rolled_out("v1")
    assert any(e["reason"] == "FailedDaemonPod" for e in world.cluster.all(CORE_EVENTS))
