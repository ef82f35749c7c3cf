"""Compose mode: the same cluster in containers, by ``kubeto up`` and by ``docker compose up`` alone."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.local_cluster import BIN, ROOT, LocalCluster
from tests.ports import take_block
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root]
NODES = 2


@pytest.fixture
def compose(tmp_path: Path) -> Iterator[LocalCluster]:
    """Not yet started; taken away afterwards."""
    block = take_block()
    place = ["--dir", str(tmp_path)]
    start = ["up", "--mode=compose", f"--nodes={NODES}", f"--name=kt{block.number}", f"--port={block.ports[0]}", *place]
    cluster = LocalCluster(tmp_path, f"kt{block.number}", start)
    try:
        yield cluster
    finally:
        cluster.kubeto("down", "--clean", *place, timeout=120)


def ready(cluster: LocalCluster) -> bool:
    return cluster.kubectl("get", "nodes", check=False).count(" Ready ") == NODES


def test_a_cluster_comes_back_by_docker_compose_alone(compose: LocalCluster) -> None:
    compose.kubeto(*compose.start, timeout=580)  # the first time on a machine it makes the base image
    assert ready(compose)
    compose.kubectl("apply", "-f", "examples/web.yaml")
    compose.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    # A volume in memory, mounted by the node in its container, reaches the engine.
    token = ("cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    assert compose.kubectl("exec", "deploy/web", "--", *token) == "default"
    compose.kubeto("down", "--dir", str(compose.directory), timeout=120)

    settings = {
        "KUBETO_DIR": str(compose.directory), "KUBETO_NAME": compose.name, "NODES": str(NODES),
        "KUBETO_PORT": next(a for a in compose.start if a.startswith("--port=")).removeprefix("--port="),
    }  # fmt: skip
    command = [str(BIN / "docker-compose"), "-f", "deploy/docker-compose.yml", "up", "--detach"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, check=True, capture_output=True, timeout=120)
    eventually(lambda: ready(compose))
    compose.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    # The nodes have new addresses; what was last known of them is told until they report.
    eventually(lambda: compose.kubectl("exec", "deploy/web", "--", *token, check=False) == "default")
