"""What a local cluster is made of: the choices of ``kubeto up``, kept in ``<dir>/cluster.json``.

Everything a cluster needs lives under one folder, ``.kubeto`` unless told otherwise, so that ``kubeto down``
finds it again and ``make clean`` has one place to empty.
"""

import ipaddress
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Mode = Literal["process", "compose"]
Runtime = Literal["docker", "containerd", "fake"]

SERVICE_ACCOUNT_ISSUER = "https://kubernetes.default.svc.cluster.local"
CLUSTER_DOMAIN = "cluster.local"
COMPOSE_PORT = 6443
COMPOSE_ENGINE = "unix:///run/machine/docker.sock"  # where a node's container has the machine's engine
DEFAULT_CLUSTER_CIDR = "10.244.0.0/16"
_NODE_PREFIX = 24  # a node's part of it


def room_for(nodes: int) -> str:
    """A pod network with a /24 for every node: the usual one while it suffices."""
    if nodes <= ipaddress.ip_network(DEFAULT_CLUSTER_CIDR).num_addresses >> (32 - _NODE_PREFIX):
        return DEFAULT_CLUSTER_CIDR
    return f"10.128.0.0/{_NODE_PREFIX - (nodes - 1).bit_length()}"


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """The choices a cluster is started with. Addresses are IPv4; networks are in CIDR form."""

    directory: str
    mode: Mode = "process"
    nodes: int = 3
    runtime: Runtime = "docker"
    etcd_members: int = 1
    name: str = "kubeto"
    port: int = 6443
    etcd_port: int = 2379
    node_network: str = "172.30.0.0/24"
    cluster_cidr: str = DEFAULT_CLUSTER_CIDR
    service_cidr: str = "10.96.0.0/16"
    verbosity: int = 2
    engine: str = "unix:///var/run/docker.sock"  # Docker's, as DOCKER_HOST has it

    @property
    def root(self) -> Path:
        return Path(self.directory)

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def data(self) -> Path:
        """What outlives ``kubeto down``: etcd's data and the nodes' state."""
        return self.root / "data"

    @property
    def run(self) -> Path:
        """What does not outlive the processes: pid files and sockets."""
        return self.root / "run"

    @property
    def components(self) -> Path:
        """The command lines that the supervisor keeps running."""
        return self.root / "components.json"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.root / "admin.conf"

    @property
    def hollow(self) -> bool:
        """Whether the nodes are pretended: one process speaks for all of them and nothing needs root."""
        return self.runtime == "fake"

    @property
    def gateway(self) -> str:
        """The address of the machine on the nodes' network; in process mode the API server is reached there."""
        return "127.0.0.1" if self.hollow else str(ipaddress.ip_network(self.node_network)[1])

    @property
    def secure_port(self) -> int:
        """Where the API server listens. Compose publishes it on ``port``."""
        return COMPOSE_PORT if self.mode == "compose" else self.port

    @property
    def api_url(self) -> str:
        """How the cluster's own processes reach the API server."""
        return f"https://apiserver:{COMPOSE_PORT}" if self.mode == "compose" else f"https://{self.gateway}:{self.port}"

    @property
    def bridge(self) -> str:
        return f"{self.name}0"

    @property
    def cluster_dns(self) -> str:
        return str(ipaddress.ip_network(self.service_cidr)[10])

    @property
    def service_ip(self) -> str:
        return str(ipaddress.ip_network(self.service_cidr)[1])

    def etcd_client_url(self, member: int) -> str:
        """Where clients reach this member of etcd, counted from 0."""
        if self.mode == "compose":
            return f"https://etcd-{member}:2379"
        return f"http://127.0.0.1:{self.etcd_port + 10 * member}"

    def etcd_peer_url(self, member: int) -> str:
        """Where the other members reach this one."""
        if self.mode == "compose":
            return f"https://etcd-{member}:2380"
        return f"http://127.0.0.1:{self.etcd_port + 10 * member + 1}"

    def node_names(self) -> list[str]:
        first = 0 if self.hollow else 1
        return [f"node-{i}" for i in range(first, self.nodes + first)]

    def node_ip(self, index: int) -> str:
        """The address of the node with this index, counted from 0."""
        return str(ipaddress.ip_network(self.node_network)[index + 11])

    def save(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "cluster.json").write_text(json.dumps(asdict(self), indent=2) + "\n")


def load(directory: str | Path) -> ClusterConfig | None:
    """The cluster whose folder this is, or None where there is none."""
    try:
        stored = json.loads((Path(directory) / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    return ClusterConfig(**{**stored, "directory": str(directory)})
