"""What is in a new cluster's way on this machine: another cluster, or the same one at work."""

import contextlib
import fcntl
import ipaddress
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil

from cli.up.config import ClusterConfig
from cli.up.namespaces import DIRECTORY_LABEL
from cli.up.prerequisites import CannotStart

_MAY_DIFFER = ("directory", "verbosity")


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold off every other 'kubeto up' and 'kubeto down' on the cluster in ``root``. Raises CannotStart."""
    root.mkdir(parents=True, exist_ok=True)
    folder = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise CannotStart(f"another 'kubeto up' or 'kubeto down' is at work in {root}: wait for it") from error
    finally:
        os.close(folder)


def refuse_other_options(wanted: ClusterConfig, stored: ClusterConfig) -> None:
    """A running cluster keeps its options. Raises CannotStart with those that differ."""
    old, new = asdict(stored), asdict(wanted)
    differ = [f"{key} is {old[key]}, not {new[key]}" for key in old if key not in _MAY_DIFFER and old[key] != new[key]]
    if differ:
        raise CannotStart(
            f"the cluster in {wanted.root} already runs with other options ({'; '.join(differ)}): "
            "type 'kubeto down' first, give the same options, or choose another --dir for a second cluster"
        )


def refuse_other_clusters(config: ClusterConfig) -> None:
    """Two clusters share neither a name nor a network. Raises CannotStart."""
    network = ipaddress.ip_network(config.node_network)
    for name, addresses in psutil.net_if_addrs().items():
        for address in addresses:
            if name != config.bridge and _is_in(address.address, network):
                raise CannotStart(f"{config.node_network} is in use on {name}: choose another with --node-network")
    other = _owner_of(f"{config.name}-{config.node_names()[0]}") if config.runtime == "docker" else ""
    if other not in ("", str(config.root)):
        raise CannotStart(f"a cluster named {config.name} runs from {other}: choose another name with --name")


def _is_in(address: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:  # a link-layer address
        return False


def _owner_of(container: str) -> str:
    """The folder of the cluster that a running node container belongs to, "" where there is none."""
    if shutil.which("docker") is None:
        return ""
    template = f'{{{{if .State.Running}}}}{{{{index .Config.Labels "{DIRECTORY_LABEL}"}}}}{{{{end}}}}'
    command = ["docker", "container", "inspect", f"--format={template}", container]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
