"""Endpoints: the older list of a Service's addresses, in one object.

Source: ``pkg/controller/endpoint/endpoints_controller.go``.
"""

from collections.abc import Iterable

from apimachinery import pods as pod_facts
from apimachinery.errors import AlreadyExists, NotFound
from apimachinery.meta import Key, Object, annotations_of, is_deleting, key_of, labels_of
from apimachinery.scheme import ENDPOINTS, PODS, SERVICES
from master.controller_manager import endpoint_facts as facts
from master.controller_manager.frame import Context, ManagedController

MAX_ADDRESSES = 1000
_OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
_MANAGER = "endpoint-controller"


def subsets(service: Object, pods: Iterable[Object]) -> list[Object]:
    """The addresses of ``pods``, those with the same ports together, in a fixed order."""
    groups: dict[tuple[tuple[tuple[str, object], ...], ...], tuple[list[Object], list[Object]]] = {}
    unready_too = facts.publishes_unready(service)
    family = facts.families(service)[0]
    for pod in pods:
        address = facts.pod_address(pod, family)
        if not address or not facts.has_endpoint(pod) or (is_deleting(pod) and not unready_too):
            continue
        ports = facts.pod_ports(pod, service)
        if not ports and not facts.is_headless(service):
            continue
        group = tuple(tuple(sorted(p.items())) for p in sorted(ports, key=lambda p: (p["name"], p["port"])))
        ready, unready = groups.setdefault(group, ([], []))
        (ready if unready_too or pod_facts.is_ready(pod) else unready).append(_address(pod, service, address))
    return [_subset(dict(groups)[group], group) for group in sorted(groups, key=repr)]


def _address(pod: Object, service: Object, address: str) -> Object:
    entry: Object = {"ip": address, "targetRef": facts.target(pod)}
    if pod_facts.node_name(pod):
        entry["nodeName"] = pod_facts.node_name(pod)
    if facts.host_name(pod, service):
        entry["hostname"] = facts.host_name(pod, service)
    return entry


def _subset(addresses: tuple[list[Object], list[Object]], ports: Iterable[Iterable[tuple[str, object]]]) -> Object:
    ready, unready = (sorted(part, key=lambda a: (a["ip"], a["targetRef"]["uid"])) for part in addresses)
    subset: Object = {"addresses": ready, "notReadyAddresses": unready, "ports": [_port(dict(p)) for p in ports]}
    return {name: value for name, value in subset.items() if value}


def _port(port: Object) -> Object:
    return {name: value for name, value in port.items() if value}


def truncated(wanted: list[Object], limit: int = MAX_ADDRESSES) -> list[Object]:
    """At most ``limit`` addresses, ready ones first."""
    for part in ("addresses", "notReadyAddresses"):
        for number, subset in enumerate(wanted):
            kept = subset.get(part, [])[:limit]
            wanted[number] = {**subset, part: kept} if kept else {k: v for k, v in subset.items() if k != part}
            limit -= len(kept)
    return [s for s in wanted if s.get("addresses") or s.get("notReadyAddresses")]


def plan(service: Object, pods: list[Object], found: Object | None) -> Object | None:
    """The Endpoints to write, or None if ``found`` is as it must be."""
    wanted = subsets(service, pods)
    over = sum(len(s.get("addresses", ())) + len(s.get("notReadyAddresses", ())) for s in wanted) > MAX_ADDRESSES
    wanted = truncated(wanted) if over else wanted
    headless = {facts.HEADLESS_LABEL: ""} if facts.is_headless(service) else {}
    own = {k: v for k, v in labels_of(service).items() if k != facts.HEADLESS_LABEL}
    labels = {**own, **headless, _MANAGED_BY: _MANAGER}
    old = found or {"apiVersion": "v1", "kind": "Endpoints", "metadata": {}}
    annotations = {k: v for k, v in annotations_of(old).items() if k != _OVER_CAPACITY}
    annotations |= {_OVER_CAPACITY: "truncated"} if over else {}
    if found and (found.get("subsets") or [], labels_of(found), annotations_of(found)) == (wanted, labels, annotations):
        return None
    namespace, name = key_of(service)
    metadata = {**old["metadata"], "name": name, "namespace": namespace, "labels": labels, "annotations": annotations}
    return {**old, "metadata": metadata, "subsets": wanted}


class EndpointsController(ManagedController):
    name = "endpoints-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._services = context.informers.informer(SERVICES)
        self._pods = context.informers.informer(PODS)
        self._endpoints = context.informers.informer(ENDPOINTS)
        self.enqueue_object(self._services)
        self.enqueue_object(self._endpoints)
        facts.follow_pods(self._pods, self._services, self.queue.add)

    async def reconcile(self, key: Key) -> None:
        service, found = self._services.store.get(*key), self._endpoints.store.get(*key)
        if service is None:
            if found is not None and labels_of(found).get(_MANAGED_BY) == _MANAGER:
                await self._delete(key, found)
            return
        if not facts.selects_pods(service) or is_deleting(service):
            return
        wanted = plan(service, facts.pods_of(service, self._pods), found)
        if wanted is None:
            return
        try:
            await (self.client.update if found else self.client.create)(ENDPOINTS, wanted)
        except (AlreadyExists, NotFound):
            return  # the informer will tell

    async def _delete(self, key: Key, found: Object) -> None:
        try:
            await self.client.delete(ENDPOINTS, key[1], key[0], uid=found["metadata"]["uid"])
        except NotFound:
            return
