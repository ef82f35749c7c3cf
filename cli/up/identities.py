"""Who a cluster's components are, and where their certificates, keys and kubeconfigs lie."""

from dataclasses import dataclass
from pathlib import Path

ADMIN = "admin"
CONTROLLER_MANAGER = "controller-manager"
SCHEDULER = "scheduler"

IDENTITIES = {
    ADMIN: ("kubernetes-admin", ("system:masters",)),
    CONTROLLER_MANAGER: ("system:kube-controller-manager", ()),
    SCHEDULER: ("system:kube-scheduler", ()),
}
# One process speaks for all hollow nodes, so it cannot be confined to one node's objects as a real agent is.
HOLLOW = "node"
HOLLOW_IDENTITY = "kubeto:hollow-nodes"
NODE_SERVER_NAME = "kubeto-node"  # in every node's certificate: hollow nodes share one address and one server


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the files are that the components are given."""

    directory: Path

    def certificate(self, name: str) -> str:
        return str(self.directory / f"{name}.crt")

    def key(self, name: str) -> str:
        return str(self.directory / f"{name}.key")

    def kubeconfig(self, name: str) -> str:
        return str(self.directory / f"{name}.conf")
