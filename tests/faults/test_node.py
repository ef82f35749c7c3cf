"""What a node's pods see of a runtime that hangs, of an API server that is away, of a full disk and of each other."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apimachinery.scheme import CORE_EVENTS, PODS
from tests.e2e.local_cluster import LocalCluster
from tests.faults.audit import leaks
from tests.unit.node.test_node import Object, World, is_ready, pod
from tests.waiting import eventually, until

real = [pytest.mark.docker, pytest.mark.root]
_PROBED = """
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: kubeto/busybox:1
    command: [sh, -c, "touch /alive; sleep 100000"]
    livenessProbe: {exec: {command: [cat, /alive]}, periodSeconds: 1, failureThreshold: 1}
"""
_DEAF = """
apiVersion: v1
kind: Pod
metadata: {name: deaf}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 2
  containers:
  - {name: main, image: "kubeto/busybox:1", command: [sh, -c, "trap '' TERM; while true; do sleep 1; done"]}
"""
_HUNG = ("create", "deployment", "hung", "--image=kubeto/busybox:1", "--replicas=4", "--", "sleep", "1000")


class Stopped:
    """A process that hangs for a while."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __enter__(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGCONT)


def running(cluster: LocalCluster, prefix: str, kind: str = "container") -> list[str]:
    """The ids of the running containers (or sandboxes) of pods whose name begins so."""
    shown = '{{.Label "io.kubeto.node"}} {{.Label "io.kubernetes.pod.name"}} {{.ID}}'
    command = ["docker", "ps", "--filter", f"label=io.kubeto.kind={kind}", "--format", shown]
    rows = [
        line.split() for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    ]
    return [row[2] for row in rows if row[0].startswith(f"{cluster.name}-") and row[1].startswith(prefix)]


def status(cluster: LocalCluster, name: str) -> Any:
    return (cluster.get("pod", name)["status"].get("containerStatuses") or [{"state": {}}])[0]


class TestOnDocker:
    pytestmark = real

    def test_without_its_api_server_a_node_probes_on_and_tells_the_truth_later(self, cluster: LocalCluster) -> None:
        cluster.apply(_PROBED)
        cluster.kubectl("wait", "--for=condition=Ready", "pod/probed", "--timeout=30s")
        uid, before = cluster.get("pod", "probed")["metadata"]["uid"], running(cluster, "probed")
        with Stopped(cluster.pids()["kubeto-apiserver"]):
            subprocess.run(["docker", "exec", before[0], "rm", "/alive"], check=True)
            eventually(lambda: running(cluster, "probed") not in ([], before))
        eventually(lambda: status(cluster, "probed")["restartCount"] == 1 and status(cluster, "probed")["ready"])
        assert cluster.get("pod", "probed")["metadata"]["uid"] == uid
        assert status(cluster, "probed")["lastState"]["terminated"]["exitCode"] == 137
        cluster.kubectl("delete", "pod", "probed")

    @pytest.mark.parametrize("component", ["kubeto-cri-docker-node-1", "kubeto-node-1"])
    def test_what_hangs_while_pods_start_and_stop_goes_on_with_it(self, cluster: LocalCluster, component: str) -> None:
        hanging = Stopped(cluster.pids()[component])
        with hanging:
            cluster.kubectl(*_HUNG)
            eventually(lambda: int(cluster.get("deployment", "hung")["status"].get("readyReplicas", 0)) >= 2)
        cluster.kubectl("rollout", "status", "deployment/hung", "--timeout=60s")
        cluster.kubectl("delete", "deployment", "hung")
        with hanging:
            cluster.kubectl("delete", "pod", "-l", "app=hung", "--grace-period=1", "--wait=false")
        eventually(lambda: not cluster.get("pods", "-l", "app=hung")["items"], within=60)
        eventually(lambda: not leaks(cluster))

    def test_nodes_finish_what_they_began_when_the_api_server_hangs(self, cluster: LocalCluster) -> None:
        hanging = Stopped(cluster.pids()["kubeto-apiserver"])
        cluster.kubectl(*_HUNG)
        # A pod that has its sandbox has its volumes, too: its token came from the API server.
        eventually(lambda: len(running(cluster, "hung-", "sandbox")) == 4)
        with hanging:
            eventually(lambda: len(running(cluster, "hung-")) == 4)
        cluster.kubectl("rollout", "status", "deployment/hung", "--timeout=60s")
        cluster.kubectl("delete", "deployment", "hung")
        cluster.kubectl("delete", "pod", "-l", "app=hung", "--grace-period=1", "--wait=false")
        with hanging:
            eventually(lambda: not running(cluster, "hung-"))
        eventually(lambda: not cluster.get("pods", "-l", "app=hung")["items"])
        eventually(lambda: not leaks(cluster))

    def test_a_container_that_ignores_its_end_is_killed_in_time(self, cluster: LocalCluster) -> None:
        cluster.apply(_DEAF)
        cluster.kubectl("wait", "--for=condition=Ready", "pod/deaf", "--timeout=30s")
        cluster.kubectl("patch", "pod", "deaf", "-p", '{"metadata": {"finalizers": ["test.kubeto.dev/look"]}}')
        cluster.kubectl("delete", "pod", "deaf", "--wait=false")
        ended = eventually(lambda: status(cluster, "deaf")["state"].get("terminated"))
        assert ended["exitCode"] == 137
        cluster.kubectl("patch", "pod", "deaf", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
        eventually(lambda: not leaks(cluster))

    def test_an_image_that_cannot_be_pulled_holds_up_nobody(self, cluster: LocalCluster) -> None:
        cluster.kubectl("run", "lost", "--image=127.0.0.1:1/none:1")
        reasons = ("ErrImagePull", "ImagePullBackOff")
        eventually(lambda: status(cluster, "lost")["state"].get("waiting", {}).get("reason") in reasons)
        cluster.kubectl("run", "found", "--image=kubeto/busybox:1", "--", "sleep", "1000")
        cluster.kubectl("wait", "--for=condition=Ready", "pod/found", "--timeout=20s")
        cluster.kubectl("delete", "pod", "lost", "found", "--grace-period=1", "--timeout=20s")


async def test_a_call_that_never_returns_holds_up_no_other_pod(tmp_path: Path) -> None:
    world, never = World(tmp_path), asyncio.Event()
    start = world.runtime.start_container

    async def hang_first(container_id: str) -> None:
        if not hung:
            hung.append(container_id)
            await never.wait()
        await start(container_id)

    hung: list[str] = []
    world.runtime.start_container = hang_first  # type: ignore[method-assign]
    async with world.node():
        world.cluster.create(PODS, pod("hangs", "sleep", "1000"))
        await until(lambda: hung)
        for name in ("a", "b"):
            world.cluster.create(PODS, pod(name, "sleep", "1000"))
        await until(lambda: is_ready(world, "a") and is_ready(world, "b"))
        world.cluster.delete(PODS, "default", "a", {})
        await until(lambda: not world.exists("a"))
        assert world.status("hangs")["phase"] == "Pending"
        never.set()
        await until(lambda: is_ready(world, "hangs"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.root
async def test_a_disk_that_fills_while_pods_run_stops_only_what_needs_it(small_disk: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root, to mount a disk")
    world, full = World(small_disk), small_disk / "full"
    volume: Object = {
        "name": "v",
        "downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]},
    }
    async with world.node(eviction_thresholds=()):
        world.cluster.create(PODS, pod("before", "sleep", "1000"))
        await until(lambda: is_ready(world, "before"))
        with open(full, "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(b"x" * 4096)
        world.cluster.create(PODS, pod("during", "sleep", "1000", volumes=[volume]))
        await until(lambda: any(e["reason"] == "FailedMount" for e in world.cluster.all(CORE_EVENTS)))
        assert is_ready(world, "before") and world.status("during")["phase"] == "Pending"
        full.unlink()
        await until(lambda: is_ready(world, "during"))
