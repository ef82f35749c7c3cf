"""What the machine must have before a cluster starts, and clear words where it has not.

``make up`` installs packages (see the Makefile); this module only checks, and starts a Docker engine where
none runs.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

from cli.refusal import Refusal
from cli.up.config import ClusterConfig

_ENGINE_SOCKET = "/var/run/docker.sock"
_ENGINE_WITHIN = 30.0
_PACKAGES = {
    "etcd": "etcd-server",
    "nft": "nftables",
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "dockerd": "docker.io",
    "containerd": "containerd",
}


class CannotStart(Refusal):
    """The machine lacks something; the message says what, and what to do."""


def check(config: ClusterConfig, own: Collection[int] = ()) -> None:
    """Raise CannotStart with every reason why a process-mode cluster of this kind cannot start here.

    ``own`` are the pids of the cluster's own processes that still run: they may have its ports.
    """
    reasons = [*_missing_programs(config), *_missing_rights(config), *_taken_ports(config, own)]
    if reasons:
        raise CannotStart("\n".join(reasons))


def _missing_programs(config: ClusterConfig) -> list[str]:
    wanted = ["etcd"]
    if not config.hollow:
        wanted += ["nft", "ip", "iptables", "nsenter"]
        wanted += ["containerd"] if config.runtime == "containerd" else []
    missing = [p for p in wanted if shutil.which(p) is None]
    if not missing:
        return []
    packages = " ".join(sorted({_PACKAGES[p] for p in missing}))
    return [f"{', '.join(missing)} not found: run 'make setup', or 'apt-get install {packages}'"]


def _missing_rights(config: ClusterConfig) -> list[str]:
    if config.hollow or os.geteuid() == 0:
        return []
    return ["nodes need network namespaces, so this must run as root (sudo); '--runtime fake' does not need it"]


def _taken_ports(config: ClusterConfig, own: Collection[int]) -> list[str]:
    wanted = {config.port + i: "--port" for i in (0, 1, 2, 7, 8, 9)}
    wanted |= {config.etcd_port + 10 * i + j: "--etcd-port" for i in range(config.etcd_members) for j in (0, 1)}
    taken = {port: _holder(port) for port in wanted if _is_taken(port)}
    return [
        f"port {port} is taken{_described(pid)}: stop that, or choose another with {wanted[port]}"
        for port, pid in taken.items()
        if pid not in own
    ]


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return True
    return False


def _holder(port: int) -> int:
    """The process that listens there; 0 when it cannot be seen."""
    import psutil  # only a port that is taken needs it

    for connection in psutil.net_connections("tcp"):
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr[-1] == port
        if listens and connection.pid:
            return connection.pid
    return 0


def _described(pid: int) -> str:
    import psutil

    try:
        return f" by {psutil.Process(pid).name()} (pid {pid})" if pid else ""
    except psutil.NoSuchProcess:
        return ""


def engine_answers() -> bool:
    """Whether a Docker engine answers on the default socket (or DOCKER_HOST)."""
    return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0


def ensure_engine(log: Path) -> bool:
    """Start Docker's engine where none runs; returns whether it was started here.

    It is started with ``--live-restore``, so that containers outlive a restart of the engine.
    """
    if shutil.which("docker") is None:
        raise CannotStart("docker not found: run 'make setup', or 'apt-get install docker.io'")
    if engine_answers():
        return False
    host, own = os.environ.get("DOCKER_HOST"), f"unix://{_ENGINE_SOCKET}"
    if host and host != own:
        raise CannotStart(f"no Docker engine answers at {host} (DOCKER_HOST): start that one")
    if shutil.which("dockerd") is None:
        raise CannotStart("no Docker engine answers and dockerd is not installed: 'apt-get install docker.io'")
    if os.geteuid() != 0:
        raise CannotStart("no Docker engine answers and only root can start one: start it, or use sudo")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        subprocess.Popen(
            ["dockerd", "--live-restore"], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    deadline = time.monotonic() + _ENGINE_WITHIN
    while time.monotonic() < deadline:
        if os.path.exists(_ENGINE_SOCKET) and engine_answers():
            return True
        time.sleep(0.2)
    raise CannotStart(f"Docker's engine did not start within {_ENGINE_WITHIN:.0f} s: see {log}")
