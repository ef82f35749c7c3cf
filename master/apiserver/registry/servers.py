"""The API servers of one cluster: each keeps a Lease in kube-system; the ``kubernetes`` Service leads to those alive.

A server is taken for dead when its Lease has not been renewed for ``ALIVE`` seconds, by the clock of who looks: clocks
of several machines are never compared. Every server does this for all; a conflict between two is settled a round later.

Source: KEP-1965 (API server identity); ``k8s.io/kubernetes/pkg/controlplane/reconcilers/lease.go``.
"""

import asyncio
import hashlib
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from apimachinery import meta, scheme
from apimachinery.errors import ApiError, Conflict, NotFound
from apimachinery.lifecycle import guard
from apimachinery.scheme import Kind

from .bootstrap import ServerAddress, ensure
from .deletion import DeleteOptions
from .reader import Reader
from .store import LoopbackWriter

Object = dict[str, Any]

RENEW, ALIVE, KEEP = 5.0, 15.0, 3600
"""Seconds: between renewals, until a server counts as dead, until a dead one's Lease is removed."""
NAMESPACE = "kube-system"
LABEL = "apiserver.kubernetes.io/identity"
ADDRESS = "kubeto.dev/address"


class Servers:
    """This server among the others. ``worker`` tells processes apart that share an address."""

    def __init__(
        self,
        reader: Reader,
        writer: LoopbackWriter,
        address: ServerAddress,
        worker: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader, self._writer, self._address, self._clock = reader, writer, address, clock
        host = socket.gethostname()
        digest = hashlib.sha256(f"{host} {address.ip} {address.port} {worker}".encode()).hexdigest()
        self.name = f"apiserver-{digest[:26]}"
        self._holder = f"{self.name}_{meta.new_uid()}"
        self._labels = {LABEL: "kube-apiserver", "kubernetes.io/hostname": host}
        self._seen: dict[str, tuple[str, float]] = {}

    async def join(self) -> None:
        """Be one of the servers from now on. Raises ApiError."""
        await self._renew()
        await self._look()

    async def run(self) -> None:
        """Stay one, for ever."""
        while True:
            await asyncio.sleep(RENEW)
            await guard("API servers", self.join)

    async def leave(self) -> None:
        """Be none any more: clients are sent elsewhere before this server ends."""
        try:
            await self._writer.delete(scheme.LEASES, NAMESPACE, self.name, DeleteOptions())
            await self._look(without=self.name)
        except ApiError:
            return  # etcd is away, or another server writes the same: they see the Lease run out

    async def _renew(self) -> None:
        lease: Object = {
            "apiVersion": scheme.LEASES.api_version,
            "kind": scheme.LEASES.kind,
            "metadata": {
                "name": self.name,
                "namespace": NAMESPACE,
                "labels": self._labels,
                "annotations": {ADDRESS: f"{self._address.port} {self._address.ip}"},
            },
            "spec": {
                "holderIdentity": self._holder,
                "leaseDurationSeconds": KEEP,
                "renewTime": meta.format_micro_time(datetime.now(UTC)),
            },
        }
        held = self._reader.get(scheme.LEASES, NAMESPACE, self.name)
        if held is None:
            await self._writer.create(scheme.LEASES, lease)
        else:
            # What is there may be of this server's former life: it has no other owner.
            version = {"resourceVersion": held["metadata"]["resourceVersion"]}
            await self._writer.update(scheme.LEASES, lease | {"metadata": lease["metadata"] | version})

    async def _look(self, without: str = "") -> None:
        leases = [
            lease
            for lease in self._reader.list(scheme.LEASES, NAMESPACE)
            if LABEL in meta.labels_of(lease) and lease["metadata"]["name"] != without
        ]
        alive = list(self._alive(leases))
        if without and not alive:
            return  # the last one leaves its address: it is the best guess of where the next one will be
        for kind, wanted in service_addresses(alive):
            await self._bring(kind, wanted)
        for kind, name in self._superfluous(alive):
            await self._writer.delete(kind, "default", name, DeleteOptions())

    def _alive(self, leases: Iterable[Object]) -> Iterator[ServerAddress]:
        now, seen = self._clock(), self._seen
        self._seen = {}
        for lease in leases:
            name, renewed = lease["metadata"]["name"], lease["spec"].get("renewTime", "")
            known = seen.get(name)
            since = known[1] if known and known[0] == renewed else now
            self._seen[name] = renewed, since
            port, _, ip = meta.annotations_of(lease).get(ADDRESS, "").partition(" ")
            if now - since < ALIVE and ip:
                yield ServerAddress(ip, int(port))

    def _superfluous(self, alive: Iterable[ServerAddress]) -> Iterator[tuple[Kind, str]]:
        wanted = {obj["metadata"]["name"] for _, obj in service_addresses(alive)}
        for found in self._reader.list(scheme.ENDPOINT_SLICES, "default"):
            name = found["metadata"]["name"]
            ours = meta.labels_of(found).get("kubernetes.io/service-name") == "kubernetes"
            if ours and name.startswith("kubernetes") and name not in wanted:
                yield scheme.ENDPOINT_SLICES, name

    async def _bring(self, kind: Kind, wanted: Object) -> None:
        existing = self._reader.get(kind, "default", wanted["metadata"]["name"])
        if existing is None:
            await ensure(self._reader, self._writer, kind, wanted)
        elif any(existing.get(key) != value for key, value in wanted.items() if key != "metadata"):
            try:
                await self._writer.update(kind, existing | {k: v for k, v in wanted.items() if k != "metadata"})
            except (Conflict, NotFound):
                return  # another server writes the same: the next round tells


def service_addresses(servers: Iterable[ServerAddress]) -> list[tuple[Kind, Object]]:
    """Endpoints and EndpointSlices of the ``kubernetes`` Service. A slice has one port and one family of addresses:
    where servers differ there is a slice more for each."""
    groups: defaultdict[tuple[int, str], set[str]] = defaultdict(set)
    for server in servers:
        groups[server.port, "IPv6" if ":" in server.ip else "IPv4"].add(server.ip)
    skip = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    subsets = [
        {"addresses": [{"ip": ip} for ip in sorted(ips)], "ports": [_port(port)]}
        for (port, _), ips in sorted(groups.items())
    ]
    meta_ = {"name": "kubernetes", "namespace": "default", "labels": skip}
    return [(scheme.ENDPOINTS, {"metadata": meta_, "subsets": subsets}), *_slices(groups)]


def _slices(groups: Mapping[tuple[int, str], set[str]]) -> Iterator[tuple[Kind, Object]]:
    for number, ((port, family), ips) in enumerate(sorted(groups.items())):
        name = "kubernetes" if number == 0 else f"kubernetes-{family.lower()}-{port}"
        labels = {"kubernetes.io/service-name": "kubernetes"}
        yield (
            scheme.ENDPOINT_SLICES,
            {
                "metadata": {"name": name, "namespace": "default", "labels": labels},
                "addressType": family,
                "endpoints": [{"addresses": [ip], "conditions": {"ready": True}} for ip in sorted(ips)],
                "ports": [_port(port)],
            },
        )


def _port(port: int) -> Object:
    return {"name": "https", "port": port, "protocol": "TCP"}
