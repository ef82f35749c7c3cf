"""Heartbeats: renews the Leases of all nodes of a process, every 10 s each, many in one round trip.

Source: KEP-589; kubelet uses ``k8s.io/component-helpers/apimachinery/lease``.
"""

import asyncio
import time
from typing import Final

from apimachinery.client.api import ApiClient, Write
from apimachinery.errors import ApiError, NotFound
from apimachinery.logging import get_logger
from apimachinery.scheme import LEASES
from node.agent.pod_state import Object
from node.agent.times import rfc3339_micro

_log = get_logger(__name__)
NAMESPACE: Final = "kube-node-lease"
_TICK_SECONDS: Final = 0.5
_BATCH: Final = 200


class LeaseRenewer:
    """Nodes are spread over the interval, so that thousands do not beat at once."""

    def __init__(self, client: ApiClient, interval: float, duration: int) -> None:
        self._client, self._interval, self._duration = client, interval, duration
        self._due: dict[str, float] = {}
        self._owners: dict[str, Object] = {}

    def set_owner(self, node: Object) -> None:
        """Beat for a node from now on; it owns its Lease. Nodes that come together are staggered."""
        meta = node["metadata"]
        self._owners[meta["name"]] = {"apiVersion": "v1", "kind": "Node", "name": meta["name"], "uid": meta["uid"]}
        self._due.setdefault(meta["name"], time.monotonic())

    async def run(self) -> None:
        """Renew until cancelled. Without an API server it goes on trying."""
        while True:
            now = time.monotonic()
            due = [name for name, at in self._due.items() if at <= now][:_BATCH]
            if due:
                await self._renew(due, now)
            more = any(at <= now for at in self._due.values())
            await asyncio.sleep(0.01 if more else min(_TICK_SECONDS, self._interval))

    async def _renew(self, names: list[str], now: float) -> None:
        renewed = {"spec": {"renewTime": rfc3339_micro(time.time())}}
        try:
            results = await self._client.write([Write.patch(LEASES, n, NAMESPACE, renewed) for n in names])
            missing = [n for n, r in zip(names, results, strict=True) if isinstance(r, NotFound)]
            refused = [r for r in results if isinstance(r, ApiError) and not isinstance(r, NotFound)]
            refused += await self._create(missing)
        except ApiError as error:
            refused = [error]
        if refused:
            _log.warning("Leases not renewed", nodes=len(refused), error=refused[0].message)
        for index, name in enumerate(names):
            spread = self._interval * index / max(len(names), 1) / 10
            self._due[name] = now + (1.0 if refused else self._interval - spread)

    async def _create(self, names: list[str]) -> list[ApiError]:
        results = await self._client.write([Write.create(LEASES, self._new(name)) for name in names])
        return [r for r in results if isinstance(r, ApiError)]

    def _new(self, name: str) -> Object:
        meta: Object = {"name": name, "namespace": NAMESPACE, "ownerReferences": [self._owners[name]]}
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": self._duration,
            "renewTime": rfc3339_micro(time.time()),
        }
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
