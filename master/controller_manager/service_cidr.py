"""Says which ServiceCIDRs are ready, and keeps each as long as a Service has an address that no other one covers.

A Service has its address by the IPAddress that is written in its own transaction: here the Services are looked at, of
which every controller manager knows anyway. Source: ``pkg/controller/servicecidrs``.
"""

from collections.abc import Iterable
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

from apimachinery.errors import NotFound
from apimachinery.meta import Key, Object, format_time, is_deleting, key_of, name_of, parse_time, with_condition
from apimachinery.scheme import SERVICES
from apimachinery.service_cidrs import DELETION_SECONDS, FINALIZER, SERVICE_CIDRS, networks
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.status import write_status

_READY = ("True", "", "Kubernetes Service CIDR is ready")
_BLOCKED = (
    "False",
    "Terminating",
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
)


class ServiceCIDRController(ManagedController):
    """Keys are ("", name): few, so that any change of one, and the end of any Service, asks for all again."""

    name = "service-cidr-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._cidrs = context.informers.informer(SERVICE_CIDRS)
        self._services = context.informers.informer(SERVICES)
        self.enqueue_by(self._cidrs, lambda _: self._all())
        self._services.add_handler(self._on_service)

    def _on_service(self, event: str, old: Object | None, new: Object | None) -> None:
        if set(addresses(old)) - set(addresses(new)):
            for key in self._all():
                self.queue.add(key)

    def _all(self) -> list[Key]:
        return [key_of(c) for c in self._cidrs.store.list()]

    async def reconcile(self, key: Key) -> None:
        cidr = self._cidrs.store.get(*key)
        if cidr is None:
            return
        finalizers = cidr["metadata"].get("finalizers") or []
        if not is_deleting(cidr):
            if FINALIZER not in finalizers:
                await self._set_finalizers(cidr, [*finalizers, FINALIZER])
            else:
                await self._tell(cidr, *_READY)
        elif blocking_address(cidr, self._cidrs.store.list(), self._services.store.list()):
            await self._tell(cidr, *_BLOCKED)
        elif FINALIZER in finalizers:
            end = parse_time(cidr["metadata"]["deletionTimestamp"]) + timedelta(seconds=DELETION_SECONDS)
            if (left := (end - self.clock.now()).total_seconds()) > 0:
                self.queue.add_after(key, left)
            else:
                await self._set_finalizers(cidr, [f for f in finalizers if f != FINALIZER])

    async def _set_finalizers(self, cidr: Object, finalizers: list[str]) -> None:
        try:
            await self.client.update(
                SERVICE_CIDRS, {**cidr, "metadata": {**cidr["metadata"], "finalizers": finalizers}}
            )
        except NotFound:
            self.log.debug("Gone already", name=name_of(cidr))

    async def _tell(self, cidr: Object, status: str, reason: str, message: str) -> None:
        ready = {"type": "Ready", "status": status, "reason": reason, "message": message}
        ready["lastTransitionTime"] = format_time(self.clock.now())
        conditions = with_condition((cidr.get("status") or {}).get("conditions"), ready)
        await write_status(self.client, SERVICE_CIDRS, cidr, {**(cidr.get("status") or {}), "conditions": conditions})


def addresses(service: Object | None) -> Iterable[str]:
    spec: dict[str, Any] = (service or {}).get("spec") or {}
    return (ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP")] if ip and ip != "None")


def blocking_address(cidr: Object, all_cidrs: Iterable[Object], services: Iterable[Object]) -> str:
    """An address of a Service in ``cidr`` and in none of the other ServiceCIDRs; "" if there is none."""
    others = [n for other in all_cidrs if name_of(other) != name_of(cidr) for n in networks(other)]
    own = [n for n in networks(cidr) if not any(n.version == o.version and n.subnet_of(o) for o in others)]  # type: ignore[arg-type]
    if not own:
        return ""
    for service in services:
        for ip in map(ip_address, addresses(service)):
            if any(ip in n for n in own) and not any(ip in n for n in others):
                return str(ip)
    return ""
