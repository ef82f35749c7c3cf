"""ComponentStatus: whether etcd, the scheduler and the controller manager are well. Deprecated since v1.19.

Every etcd server is asked. The scheduler and the controller manager are well while somebody renews their leader Lease:
upstream asks ports 10257 and 10259 of its own host, where they need not be, and are not when there are several masters.
Source: ``pkg/registry/core/componentstatus``.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from apimachinery import meta, scheme

from ..storage.etcd import EtcdStorage
from .reader import Reader
from .selection import Selection

Object = dict[str, Any]
LEADERS = {"controller-manager": "kube-controller-manager", "scheduler": "kube-scheduler"}
"""Components and their Leases in kube-system."""


class ComponentStatuses:
    def __init__(self, storage: EtcdStorage, reader: Reader) -> None:
        self._storage, self._reader = storage, reader

    async def __call__(self, selection: Selection) -> Iterable[Object]:
        now = datetime.now(UTC)
        servers = await asyncio.gather(*(self._storage.ailment(i) for i in range(self._storage.servers)))
        told = {name: leaderless(self._lease(name), now) for name in LEADERS}
        told |= {f"etcd-{index}": why for index, why in enumerate(servers)}
        return [component_status(name, why) for name, why in told.items()]

    def _lease(self, component: str) -> Object | None:
        return self._reader.get(scheme.LEASES, "kube-system", LEADERS[component])


def leaderless(lease: Object | None, now: datetime) -> str:
    """Why nobody leads; "" if somebody does. Pure."""
    spec = (lease or {}).get("spec") or {}
    if not spec.get("holderIdentity"):
        return "nobody holds its leader lease"
    renewed = meta.parse_time(spec.get("renewTime") or "1970-01-01T00:00:00Z")
    if now > renewed + timedelta(seconds=spec.get("leaseDurationSeconds") or 0):
        return f"its leader lease was last renewed at {spec.get('renewTime')}"
    return ""


def component_status(name: str, why: str) -> Object:
    found = {"status": "False", "error": why} if why else {"status": "True", "message": "ok"}
    return {
        "kind": "ComponentStatus",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "conditions": [{"type": "Healthy", **found}],
    }
