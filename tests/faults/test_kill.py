"""Kill each process of a running cluster in turn: within 30 s everything is as declared again."""

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.local_cluster import LocalCluster
from tests.faults.audit import leaks
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root]

_DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: steady}
spec:
  replicas: 3
  selector: {matchLabels: {app: steady}}
  template:
    metadata: {labels: {app: steady}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 2}
      containers: [{name: main, image: "kubeto/busybox:1", command: [sleep, "100000"]}]
"""
_HOST_PORT = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ported}
spec:
  selector: {matchLabels: {app: ported}}
  template:
    metadata: {labels: {app: ported}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: port
        image: kubeto/busybox:1
        command: [sleep, "100000"]
        ports: [{containerPort: 81, hostPort: 8199}]
"""


@pytest.fixture(scope="module")
def steady(cluster: LocalCluster) -> Iterator[LocalCluster]:
    cluster.apply(_DEPLOYMENT)
    cluster.apply(_HOST_PORT)
    cluster.kubectl("rollout", "status", "deployment/steady", "--timeout=60s")
    yield cluster
    cluster.kubectl("delete", "deployment/steady", "daemonset/ported")


def running(cluster: LocalCluster) -> list[dict[str, Any]]:
    return [
        p for p in cluster.get("pods", "-l", "app=steady")["items"]
        if p["status"].get("phase") == "Running" and not p["metadata"].get("deletionTimestamp")
    ]  # fmt: skip


def as_declared(cluster: LocalCluster) -> bool:
    """Three pods and no more, and on the machine just what they are made of."""
    found = leaks(cluster)
    assert not found, found
    return len(running(cluster)) == 3 and all_ported(cluster)


def all_ported(cluster: LocalCluster) -> bool:
    status = cluster.get("daemonset", "ported")["status"]
    return bool(status.get("numberReady") == status["desiredNumberScheduled"] == 3)


_COMPONENTS = [
    "etcd-0", "kubeto-apiserver", "kubeto-controller-manager", "kubeto-scheduler", "kubeto-node-1",
    "kubeto-cri-docker-node-1",
]  # fmt: skip


@pytest.mark.parametrize("component", _COMPONENTS)
def test_killed_while_pods_come_and_go(steady: LocalCluster, component: str) -> None:
    before = {p["metadata"]["uid"] for p in running(steady)}
    pid = steady.pids()[component]
    steady.kubectl("create", "deployment", "churn", "--image=kubeto/busybox:1", "--replicas=4", "--", "sleep", "1000")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: steady.pids().get(component) not in (None, pid))
    eventually(lambda: steady.kubectl("delete", "deployment", "churn", "--ignore-not-found") or True)
    eventually(lambda: steady.kubectl("delete", "pod", "-l", "app=churn", "--grace-period=1", "--wait=false") or True)
    eventually(lambda: as_declared(steady), within=60)
    assert {p["metadata"]["uid"] for p in running(steady)} == before, "a pod was replaced"


def test_the_supervisor_is_killed_and_up_is_typed_again(steady: LocalCluster) -> None:
    before = {name: pid for name, pid in steady.pids().items() if name != "supervisor"}
    os.kill(steady.pids()["supervisor"], signal.SIGKILL)
    steady.kubeto(*steady.start, timeout=90)
    assert {name: pid for name, pid in steady.pids().items() if name != "supervisor"} == before
    refused = steady.kubeto(*steady.start, "--nodes=2", check=False)
    assert "nodes is 3, not 2" in refused
    eventually(lambda: as_declared(steady))


@pytest.mark.parametrize("verb", [["kill"], ["rm", "--force"]], ids=["killed", "removed"])
def test_sandboxes_die_by_another_hand(steady: LocalCluster, verb: list[str]) -> None:
    label = ["--filter", f"label=io.kubeto.node={steady.name}-node-2", "--filter", "label=io.kubeto.kind=sandbox"]
    ids = docker("ps", "-q", *label).split()
    assert ids
    docker(*verb, *ids)
    eventually(lambda: not set(docker("ps", "-q", *label).split()) & set(ids))
    eventually(lambda: as_declared(steady), within=60)


def test_a_node_reboots(steady: LocalCluster) -> None:
    """Its namespace goes, and with it every process and link that was in it."""
    pid = steady.pids()["kubeto-node-3"]
    docker("kill", f"{steady.name}-node-3")
    eventually(lambda: steady.pids().get("kubeto-node-3") not in (None, pid))
    eventually(lambda: as_declared(steady), within=60)


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


def test_a_stopped_node_is_noticed_and_comes_back(steady: LocalCluster) -> None:
    """SIGSTOP is a machine that hangs: nothing closes its connections."""
    pid = steady.pids()["kubeto-node-2"]

    def ready() -> str:
        conditions = steady.get("node", "node-2")["status"]["conditions"]
        return str(next(c["status"] for c in conditions if c["type"] == "Ready"))

    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: ready() != "True", within=60)
        eventually(lambda: len([p for p in running(steady) if p["spec"]["nodeName"] != "node-2"]) == 3)
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: ready() == "True")
    eventually(lambda: as_declared(steady), within=60)
