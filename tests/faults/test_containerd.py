"""containerd, or its shims, killed with -9 while pods start, run and stop: nothing is left over, nothing is doubled."""

import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docker_runtime import engine_is_here
from tests.e2e.local_cluster import LocalCluster, local_cluster
from tests.faults.audit import OnContainerd, leaks
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root]
_STEADY = """
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
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    if not engine_is_here() or not shutil.which("containerd"):
        pytest.skip("needs root, containerd, and Docker for its test images")
    with local_cluster(tmp_path_factory.mktemp("containerd"), "--nodes=1", "--runtime=containerd") as cluster:
        cluster.apply(_STEADY)
        cluster.kubectl("rollout", "status", "deployment/steady", "--timeout=60s")
        yield cluster


def pods(cluster: LocalCluster) -> list[Any]:
    return list(cluster.get("pods")["items"])


def restarts(cluster: LocalCluster) -> dict[str, int]:
    """Of the pods that are Ready, by name."""
    return {
        p["metadata"]["name"]: p["status"]["containerStatuses"][0]["restartCount"]
        for p in pods(cluster)
        if not p["metadata"].get("deletionTimestamp") and _ready(p)
    }


def _ready(pod: Any) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


def as_declared(cluster: LocalCluster, count: int) -> bool:
    """So many pods, all Ready, and on the machine just what they are made of."""
    found = leaks(cluster)
    assert not found, found
    return len(restarts(cluster)) == len(pods(cluster)) == count


def test_containerd_is_killed_while_pods_come_and_go(steady: LocalCluster) -> None:
    first, *others = restarts(steady)
    killed = steady.pids()["containerd-node-1"]
    for count in (6, 3):
        steady.kubectl("scale", "deployment/steady", f"--replicas={count}")
        steady.kubectl("delete", "pod", first, "--ignore-not-found", "--wait=false")
        os.kill(killed, signal.SIGKILL)
        killed = eventually(lambda old=killed: (new := steady.pids().get("containerd-node-1")) != old and new)
        eventually(lambda wanted=count: as_declared(steady, wanted))
    assert not any(restarts(steady).values())
    assert set(others) & set(restarts(steady)), "what ran has gone on"


def test_containerd_hangs_while_pods_come_and_go(steady: LocalCluster) -> None:
    before, hung = restarts(steady), steady.pids()["containerd-node-1"]
    os.kill(hung, signal.SIGSTOP)
    try:
        steady.kubectl("scale", "deployment/steady", "--replicas=5")
        steady.kubectl("delete", "pod", next(iter(before)), "--wait=false")
        eventually(lambda: all(p["spec"].get("nodeName") for p in pods(steady)) and len(pods(steady)) == 6)
    finally:
        os.kill(hung, signal.SIGCONT)
    eventually(lambda: as_declared(steady, 5))
    steady.kubectl("scale", "deployment/steady", "--replicas=3")
    eventually(lambda: as_declared(steady, 3))
    assert not any(restarts(steady).values())


def test_a_shim_is_killed(steady: LocalCluster) -> None:
    """It takes its pod's processes with it; they are started again in another sandbox."""
    node = OnContainerd(steady, "node-1")
    before = node.shims()
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: sorted(restarts(steady).values()) == [0, 0, 1])
    eventually(lambda: as_declared(steady, 3))
    assert len(set(before) & set(node.shims())) == len(before) - 1
    steady.kubectl("delete", "pod", *(name for name, count in restarts(steady).items() if count))  # it would back off
    eventually(lambda: as_declared(steady, 3))


def test_all_shims_and_containerd_are_killed_at_once(steady: LocalCluster) -> None:
    node, before = OnContainerd(steady, "node-1"), restarts(steady)
    for pid in (steady.pids()["containerd-node-1"], *node.shims()):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: restarts(steady) == {name: count + 1 for name, count in before.items()})
    eventually(lambda: as_declared(steady, 3))
    steady.kubectl("delete", "deployment/steady")
    eventually(lambda: as_declared(steady, 0) and not node.shims() and not node.containers())
