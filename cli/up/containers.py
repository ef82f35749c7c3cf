"""``kubeto init`` and ``kubeto component``: what runs inside the containers of compose mode.

The command lines are those of process mode (``components``); only addresses differ.
"""

import asyncio
import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cli.up import components, etcd
from cli.up.certificates import ensure_certificates, write_admin_kubeconfig
from cli.up.components import NodePlace
from cli.up.config import COMPOSE_ENGINE, ClusterConfig, load
from cli.up.identities import Certificates
from cli.up.prerequisites import CannotStart
from cli.up.supervisor import supervise

Directory = Annotated[Path, typer.Option("--dir", help="The cluster's folder, at the same path as on the machine.")]
_NUMBER = "com.docker.compose.container-number"
# Certificates are made before anybody knows how far `docker compose up --scale node=N` will go.
_SPARE_NODES = 32


def init(directory: Directory, name: str = "kubeto", nodes: int = 3, port: int = 6443, etcd: int = 1) -> None:
    """Make certificates, keys and kubeconfigs of a compose-mode cluster, where they are missing."""
    config = ClusterConfig(
        directory=str(directory), mode="compose", nodes=nodes, name=name, port=port, etcd_members=etcd
    )
    ensure_certificates(replace(config, nodes=max(nodes, _SPARE_NODES)))
    write_admin_kubeconfig(config)
    config.save()
    for folder in (config.run, config.data, config.logs):
        folder.mkdir(parents=True, exist_ok=True)
    _ensure_shared(config.root)


def _ensure_shared(folder: Path) -> None:
    """Let mounts that a node makes under ``folder`` (volumes in memory) be seen by the engine.

    Most systems share all mounts from the root down; where that is not so, the folder becomes a shared mount of the
    machine: in the mount namespace of the engine's shim, which is this process's parent with ``pid: host``. Needs
    SYS_ADMIN and SYS_PTRACE. Raises CannotStart.
    """
    share = """
      case $(findmnt --noheadings --output=PROPAGATION --target "$0") in *shared*) exit ;; esac
      mount --bind "$0" "$0" && mount --make-rshared "$0"
    """
    on_the_machine = ["nsenter", f"--target={os.getppid()}", "--mount", "--wd=/", "sh", "-c", share, str(folder)]
    done = subprocess.run(on_the_machine, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotStart(f"{folder} cannot be made a shared mount: {done.stderr.strip()}")


def component(name: Annotated[str, typer.Argument()], directory: Directory) -> None:
    """Become one component of a compose-mode cluster: etcd-0, apiserver, controller-manager, scheduler or node."""
    config = load(directory)
    if config is None:
        raise CannotStart(f"{directory} holds no cluster: the init service must run first")
    certificates = Certificates(config.pki)
    makers = {
        "apiserver": components.api_server,
        "controller-manager": components.controller_manager,
        "scheduler": components.scheduler,
    }
    if name.startswith("etcd-"):
        argv = etcd.command(config, certificates, int(name.removeprefix("etcd-")))
        os.execvpe(argv[0], argv, os.environ | etcd.environment())  # noqa: S606 - the system's own etcd
    elif name == "node":
        _run_node(config, certificates)
    elif name in makers:
        argv = makers[name](config, certificates).argv
        os.execv(argv[0], argv)  # noqa: S606 - our own program, by its path
    else:
        raise CannotStart(f"no component {name!r}: etcd-0, apiserver, controller-manager, scheduler or node")


def _run_node(config: ClusterConfig, certificates: Certificates) -> None:
    """A node's agent and runtime side by side; the container's number among its service names the node."""
    import docker  # only a node needs it, and every verb would pay for its import

    container = docker.DockerClient(base_url=COMPOSE_ENGINE).containers.get(socket.gethostname())
    place = NodePlace(f"node-{container.labels[_NUMBER]}", components.own_address(), -1, container.id or "")
    (config.data / "nodes" / place.name / "cni").mkdir(parents=True, exist_ok=True)
    asyncio.run(supervise(config, components.real_node(config, certificates, place), log_to_files=False))
