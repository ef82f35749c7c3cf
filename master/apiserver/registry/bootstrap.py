"""What a cluster has from its first start on. Made again at every start if somebody took it away.

Source: ``k8s.io/kubernetes/pkg/controlplane``.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from apimachinery import scheme
from apimachinery.errors import AlreadyExists
from apimachinery.scheme import Kind
from apimachinery.service_cidrs import DEFAULT, SERVICE_CIDRS

from .reader import Reader
from .store import LoopbackWriter

Object = dict[str, Any]

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_CRITICAL = (("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000))
_CRITICAL_USE = {
    "system-cluster-critical": "Used for system critical pods that must run in the cluster, but can be moved to "
    "another node if necessary.",
    "system-node-critical": "Used for system critical pods that must not be moved from their current node.",
}


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where pods reach the API server: ``--advertise-address`` and ``--secure-port``."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def kubernetes_ip(cidrs: tuple[str, ...]) -> str:
    """The first address of the service range: that of the ``kubernetes`` Service."""
    return str(ipaddress.ip_network(cidrs[0])[1])


async def ensure_namespaces(reader: Reader, writer: LoopbackWriter) -> None:
    """First of all: everything else lives in them."""
    for name in NAMESPACES:
        await ensure(reader, writer, scheme.NAMESPACES, {"metadata": {"name": name}})


async def ensure_objects(reader: Reader, writer: LoopbackWriter, cidrs: tuple[str, ...], server: ServerAddress) -> None:
    await ensure(reader, writer, SERVICE_CIDRS, {"metadata": {"name": DEFAULT}, "spec": {"cidrs": list(cidrs)}})
    for kind, wanted in _objects(cidrs, server):
        await ensure(reader, writer, kind, wanted)


def _objects(cidrs: tuple[str, ...], server: ServerAddress) -> Iterator[tuple[Kind, Object]]:
    for name, value in _CRITICAL:
        yield (
            scheme.PRIORITY_CLASSES,
            {"metadata": {"name": name}, "value": value, "description": _CRITICAL_USE[name]},
        )
    ports = [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": server.port}]
    labels = {"component": "apiserver", "provider": "kubernetes"}
    yield (
        scheme.SERVICES,
        {
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
            "spec": {
                "type": "ClusterIP",
                "clusterIP": kubernetes_ip(cidrs),
                "sessionAffinity": "None",
                "ports": ports,
            },
        },
    )


async def ensure(reader: Reader, writer: LoopbackWriter, kind: Kind, wanted: Object) -> None:
    """Create what is not there."""
    meta = wanted["metadata"]
    if reader.get(kind, meta.get("namespace", ""), meta["name"]) is not None:
        return
    try:
        await writer.create(kind, {"apiVersion": kind.api_version, "kind": kind.kind, **wanted})
    except AlreadyExists:
        return  # another API server was faster
