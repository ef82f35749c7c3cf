"""Kill each process of a running cluster in turn: within 30 s everything is as declared again."""

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.local_cluster import LocalCluster, eventually

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
      containers: [{name: main, image: "kubeto/busybox:1", command: [sleep, "100000"]}]
"""


@pytest.fixture(scope="module")
def steady(cluster: LocalCluster) -> Iterator[LocalCluster]:
    cluster.apply(_DEPLOYMENT)
    cluster.kubectl("rollout", "status", "deployment/steady", "--timeout=60s")
    yield cluster
    cluster.kubectl("delete", "deployment", "steady")


def running(cluster: LocalCluster) -> list[dict[str, Any]]:
    return [
        p for p in cluster.get("pods", "-l", "app=steady")["items"]
        if p["status"].get("phase") == "Running" and not p["metadata"].get("deletionTimestamp")
    ]  # fmt: skip


def containers() -> list[str]:
    labels = ["--filter", "label=io.kubernetes.container.name=main", "--filter", "status=running"]
    listed = subprocess.run(["docker", "ps", "-q", *labels], capture_output=True, text=True, check=True)
    return listed.stdout.split()


def as_declared(cluster: LocalCluster) -> bool:
    """Three pods that run, a container for each and no more, and a new pod comes up."""
    pods = running(cluster)
    return len(pods) == 3 and len(containers()) == 3


_COMPONENTS = [
    "etcd-0", "kubeto-apiserver", "kubeto-controller-manager", "kubeto-scheduler", "kubeto-node-1",
    "kubeto-cri-docker-node-1",
]  # fmt: skip


@pytest.mark.parametrize("component", _COMPONENTS)
def test_killed(steady: LocalCluster, component: str) -> None:
    before = {p["metadata"]["uid"] for p in running(steady)}
    pid = steady.pids()[component]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: steady.pids().get(component) not in (None, pid), within=30)
    eventually(lambda: as_declared(steady), within=30)
    assert {p["metadata"]["uid"] for p in running(steady)} == before, "a pod was replaced"
    steady.kubectl("scale", "deployment/steady", "--replicas=4")
    eventually(lambda: len(running(steady)) == 4, within=30)
    steady.kubectl("scale", "deployment/steady", "--replicas=3")
    eventually(lambda: as_declared(steady), within=30)


def test_a_stopped_node_is_noticed_and_comes_back(steady: LocalCluster) -> None:
    """SIGSTOP is a machine that hangs: nothing closes its connections."""
    pid = steady.pids()["kubeto-node-2"]

    def ready() -> str:
        conditions = steady.get("node", "node-2")["status"]["conditions"]
        return str(next(c["status"] for c in conditions if c["type"] == "Ready"))

    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: ready() != "True", within=60)
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: ready() == "True", within=30)
    eventually(lambda: as_declared(steady), within=60)
