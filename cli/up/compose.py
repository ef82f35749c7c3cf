"""``kubeto up --mode compose``: the cluster as containers of ``deploy/docker-compose.yml``."""

import contextlib
import datetime
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cli.up import prerequisites
from cli.up.config import ClusterConfig
from cli.up.etcd import check_members
from cli.up.images import DEPLOY, ensure_example_images, ensure_image
from cli.up.prerequisites import CannotStart
from cli.up.process import LEASE_RENEWED_WITHIN, remove_containers, wait_for_api, wait_for_nodes
from cli.up.progress import Progress


def up(config: ClusterConfig, progress: Progress) -> None:
    """Build what is missing, start the services, wait until every node is Ready. Raises CannotStart."""
    if config.runtime != "docker":
        raise CannotStart("compose mode runs pods on Docker: use --mode process for containerd or fake")
    check_members(config)
    config.root.mkdir(parents=True, exist_ok=True)
    with progress.step("Docker engine") as step:
        step.detail = "started" if prerequisites.ensure_engine(config.logs / "dockerd.log") else "running"
    ensure_example_images(progress)
    ensure_image(progress)
    since = datetime.datetime.now(datetime.UTC)
    if _compose(config, "ps", "--quiet", "--status=running", "node").strip():
        since -= LEASE_RENEWED_WITHIN
    with progress.step("Containers started"):
        _compose(config, "up", "--detach", "--remove-orphans", "--quiet-pull")
    with contextlib.closing(wait_for_api(config, progress, lambda: True)) as api:
        wait_for_nodes(config, api, progress, lambda: True, since)


def down(config: ClusterConfig, progress: Progress) -> None:
    """Remove the services, the pods' containers and the networks; the data stay."""
    if not prerequisites.engine_answers():
        progress.say("No Docker engine answers, so nothing of the cluster runs.")
        return
    with progress.step("Containers and networks removed"):
        _compose(config, "down", "--remove-orphans", "--timeout", "10")
        remove_containers(config)
        subprocess.run(["umount", "--recursive", str(config.root)], capture_output=True, check=False)


def _compose(config: ClusterConfig, *arguments: str) -> str:
    """What a compose command prints. Raises CannotStart."""
    settings = {
        "KUBETO_DIR": str(config.root),
        "KUBETO_NAME": config.name,
        "KUBETO_PORT": str(config.port),
        "NODES": str(config.nodes),
        "ETCD": str(config.etcd_members),
        "COMPOSE_PROFILES": "etcd3" if config.etcd_members == 3 else "",
    }
    command = [*_program(), "--file", str(DEPLOY / "docker-compose.yml"), *arguments]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotStart(f"docker compose {arguments[0]} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def _program() -> list[str]:
    """Compose from PyPI beside this Python, else the machine's own plugin."""
    beside = Path(sys.executable).parent / "docker-compose"
    if beside.exists():
        return [str(beside)]
    return ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
