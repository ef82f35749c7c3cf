"""Scheduler, node controllers, API server, etcd and kubectl together: with the rights that they really have."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.control_plane import ControlPlane
from tests.scheduling import node, pod
from tests.waiting import eventually

SHORT_LEASE = ("--leader-elect-lease-duration=3s", "--leader-elect-renew-deadline=2s", "--leader-elect-retry-period=1s")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane")) as running:
        running.start_controller_manager("--cluster-cidr=10.240.0.0/16", "--controllers=*,-node-lifecycle-controller")
        for name in ("scheduler-1", "scheduler-2"):
            running.start_scheduler(*SHORT_LEASE, name=name)
        for name in ("a", "b", "c"):
            add_node(running, name)
        yield running


def add_node(plane: ControlPlane, name: str) -> None:
    obj = node(name)
    plane.kubectl("create", "-f", "-", stdin=json.dumps(obj))
    status = obj["status"] | {"conditions": [{"type": "Ready", "status": "True"}]}
    plane.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    plane.kubectl("patch", "node", name, "--type=merge", "-p", '{"spec":{"taints":null}}')


def create(plane: ControlPlane, *objects: dict[str, Any]) -> None:
    eventually(lambda: plane.kubectl("get", "sa", "default", check=False).startswith("NAME"))
    plane.kubectl("create", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))


def get(plane: ControlPlane, kind: str, *arguments: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(plane.kubectl("get", kind, *arguments, "-o", "json"))["items"]
    return items


def where(plane: ControlPlane) -> dict[str, str]:
    return {p["metadata"]["name"]: p["spec"].get("nodeName", "") for p in get(plane, "pods")}


def test_nodes_get_networks_and_pods_get_nodes_whichever_scheduler_lives(plane: ControlPlane) -> None:
    eventually(lambda: len({n["spec"].get("podCIDR") for n in get(plane, "nodes")} - {None}) == 3)
    create(plane, *[pod(f"first-{n}", cpu="100m") for n in range(9)])
    eventually(lambda: all(where(plane).values()))
    assert Counter(where(plane).values()) == {"a": 3, "b": 3, "c": 3}
    leader = json.loads(plane.kubectl("get", "lease", "-n", "kube-system", "kube-scheduler", "-o", "json"))
    pid = int(leader["spec"]["holderIdentity"].split("_")[1])
    (program,) = [p for p in plane.programs.values() if p.process and p.process.pid == pid]
    program.kill()
    create(plane, *[pod(f"second-{n}", cpu="100m") for n in range(9)])
    eventually(lambda: all(where(plane).values()))
    assert Counter(where(plane).values()) == {"a": 6, "b": 6, "c": 6}


def test_why_a_pod_waits_is_told_and_a_more_important_one_takes_the_place(plane: ControlPlane) -> None:
    create(plane, pod("huge", cpu="64"))
    message = (
        "0/3 nodes are available: 3 Insufficient cpu. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    eventually(lambda: message in plane.kubectl("describe", "pod", "huge"))
    classes = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 9}
    create(plane, classes, pod("vip", cpu="3800m", priorityClassName="high"))
    eventually(lambda: [p for p in get(plane, "pods") if p["metadata"].get("deletionTimestamp")])
    victims = [p for p in get(plane, "pods") if p["metadata"].get("deletionTimestamp")]
    assert all(any(c["type"] == "DisruptionTarget" for c in v["status"]["conditions"]) for v in victims)
    (vip,) = [p for p in get(plane, "pods") if p["metadata"]["name"] == "vip"]
    assert {v["spec"]["nodeName"] for v in victims} == {vip["status"]["nominatedNodeName"]}
    for victim in victims:
        plane.kubectl("delete", "pod", victim["metadata"]["name"], "--force", "--grace-period=0")
    eventually(lambda: where(plane)["vip"] == vip["status"]["nominatedNodeName"])
