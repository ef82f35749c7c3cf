"""A hollow cluster whose processes are killed: each comes back, and only what was killed."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.local_cluster import LocalCluster, local_cluster
from tests.waiting import eventually


@pytest.fixture(scope="module")
def hollow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    directory = tmp_path_factory.mktemp("supervisor") / "cluster"
    with local_cluster(directory, "--nodes=2", "--runtime=fake") as running:
        yield running


def children(pid: int, name: str) -> list[int]:
    """The children of ``pid`` that show themselves as ``name``."""
    found = subprocess.run(["pgrep", "-P", str(pid), "-f", name], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def kill(cluster: LocalCluster, component: str) -> None:
    """Kill a component; return when another process has taken its place."""
    pid = cluster.pids()[component]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: cluster.pids().get(component) not in (None, pid))


def test_a_component_shows_its_own_command_line(hollow: LocalCluster) -> None:
    shown = Path(f"/proc/{hollow.pids()['kubeto-scheduler']}/cmdline").read_text()
    assert "kubeto-scheduler --kubeconfig=" in shown
    assert shown.rstrip("\0").endswith("--v=2")


def test_a_killed_component_comes_back_alone(hollow: LocalCluster) -> None:
    before = hollow.pids()
    kill(hollow, "kubeto-controller-manager")
    after = hollow.pids()
    assert {name for name in before if before[name] != after[name]} == {"kubeto-controller-manager"}
    hollow.kubectl("create", "deployment", "back", "--image=kubeto/busybox:1")
    hollow.kubectl("rollout", "status", "deployment/back", "--timeout=30s")


def test_a_killed_zygote_is_replaced_when_it_is_needed(hollow: LocalCluster) -> None:
    before = hollow.pids()
    (zygote,) = children(before["supervisor"], "kubeto-zygote")
    os.kill(zygote, signal.SIGKILL)
    kill(hollow, "kubeto-scheduler")
    assert children(before["supervisor"], "kubeto-zygote") != [zygote]
    after = hollow.pids()
    assert {name for name in before if before[name] != after[name]} == {"kubeto-scheduler"}
    hollow.kubectl("create", "deployment", "again", "--image=kubeto/busybox:1")
    hollow.kubectl("rollout", "status", "deployment/again", "--timeout=30s")


def test_a_new_supervisor_adopts_what_runs(hollow: LocalCluster) -> None:
    before = hollow.pids()
    os.kill(before["supervisor"], signal.SIGKILL)
    hollow.kubeto(*hollow.start)
    after = hollow.pids()
    assert {name for name in before if before[name] != after[name]} == {"supervisor"}
