"""``kubeto up`` and ``kubeto down``."""

import importlib
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, cast, get_args

import typer

from cli.up.config import ClusterConfig, Mode, Runtime, load, room_for
from cli.up.prerequisites import CannotStart
from cli.up.progress import Progress

Directory = Annotated[Path, typer.Option("--dir", help="The cluster's folder: certificates, logs, data.")]
_DEFAULT_DIRECTORY = Path(".kubeto")


def up(
    mode: Annotated[str, typer.Option(help="process: local processes. compose: docker compose.")] = "process",
    nodes: Annotated[int, typer.Option(min=1, help="How many nodes.")] = 3,
    runtime: Annotated[str, typer.Option(help="docker, containerd, or fake (in memory, no root needed).")] = "docker",
    etcd: Annotated[int, typer.Option(help="Members of etcd: 1 or 3.")] = 1,
    name: Annotated[str, typer.Option(help="The cluster's name; prefixes what it makes on this machine.")] = "kubeto",
    port: Annotated[int, typer.Option(help="The API server's port; the next two serve gRPC.")] = 6443,
    etcd_port: Annotated[int, typer.Option(help="The first etcd member's client port.")] = 2379,
    node_network: Annotated[str, typer.Option(help="The network of the nodes.")] = "172.30.0.0/24",
    verbosity: Annotated[int, typer.Option("--v", help="How much the components log.")] = 2,
    directory: Directory = _DEFAULT_DIRECTORY,
) -> None:
    """Start a cluster and wait until its nodes are Ready: 'kubeto up --mode process --nodes 3'."""
    config = ClusterConfig(
        directory=str(directory.resolve()),
        mode=_mode(mode),
        nodes=nodes,
        runtime=_runtime(runtime),
        etcd_members=etcd,
        name=name,
        port=port,
        etcd_port=etcd_port,
        node_network=node_network,
        cluster_cidr=room_for(nodes),
        verbosity=verbosity,
        **_engine(),
    )
    if etcd not in (1, 3):
        raise CannotStart(f"--etcd={etcd}: etcd runs with 1 or 3 members here")
    progress = Progress()
    _mode_of(config).up(config, progress)
    _say_what_next(config, progress)


def _engine() -> dict[str, str]:
    """Docker's engine, where the environment names one."""
    host = os.environ.get("DOCKER_HOST")
    return {"engine": host} if host else {}


def _mode_of(config: ClusterConfig) -> ModuleType:
    """The module that starts and stops this kind of cluster; imported only here, since no other verb needs it."""
    return importlib.import_module(f"cli.up.{config.mode}")


def _mode(value: str) -> Mode:
    for mode in get_args(Mode):
        if value == mode:
            return cast(Mode, mode)
    raise CannotStart(f"--mode={value}: one of {', '.join(get_args(Mode))}")


def _runtime(value: str) -> Runtime:
    for runtime in get_args(Runtime):
        if value == runtime:
            return cast(Runtime, runtime)
    raise CannotStart(f"--runtime={value}: one of {', '.join(get_args(Runtime))}")


def _say_what_next(config: ClusterConfig, progress: Progress) -> None:
    progress.say(f"\nThe cluster [bold]{config.name}[/] is ready ({progress.seconds:.1f} s). Next:\n")
    progress.say(f"  export PATH={Path(sys.executable).parent}:$PATH")
    progress.say(f"  export KUBECONFIG={config.admin_kubeconfig}")
    progress.say("  kubectl get nodes          [dim]# or: kubeto get nodes[/]")
    progress.say("  kubectl apply -f examples/web.yaml && kubectl rollout status deployment/web")
    progress.say(f"\nLogs: {config.logs}    Stop: kubeto down")


def down(
    directory: Directory = _DEFAULT_DIRECTORY,
    clean: Annotated[bool, typer.Option("--clean", help="Remove the data as well.")] = False,
) -> None:
    """Stop the cluster; its data stay for the next 'kubeto up' unless --clean is given."""
    config = load(directory.resolve())
    progress = Progress()
    if config is None:
        progress.say(f"There is no cluster in {directory}.")
        return
    _mode_of(config).down(config, progress)
    if clean:
        with progress.step("Data removed"):
            try:
                _empty(config.root)
            except OSError as error:
                raise CannotStart(f"{config.root} could not be removed: {error}") from error


def _empty(folder: Path) -> None:
    """Remove the folder; one that a checkout keeps (it has a .gitignore) stays, empty, for ``docker compose up``."""
    keeper = folder / ".gitignore"
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != keeper:
            entry.unlink()
    if not keeper.exists():
        folder.rmdir()
