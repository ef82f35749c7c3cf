"""EndpointSlices: the addresses behind each Service, at most 100 in a slice.

Source: ``pkg/controller/endpointslice``, KEP-752, KEP-1672 (terminating endpoints). Topology hints are left out.
"""

from collections.abc import Iterable, Mapping

from apimachinery import pods as pod_facts
from apimachinery.meta import Key, Object, is_deleting, key_of, labels_of, namespace_of, owner_reference
from apimachinery.scheme import ENDPOINT_SLICES, NODES, PODS, SERVICES
from master.controller_manager import endpoint_facts as facts
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.slice_writer import SliceWriter
from master.controller_manager.slices import Group, Template, plan

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
ZONE = "topology.kubernetes.io/zone"


def groups(service: Object, pods: Iterable[Object], zones: Mapping[str, str]) -> list[Group]:
    """The endpoints of a Service, by address type and ports. ``zones``: node -> zone."""
    found: dict[bytes, Group] = {}
    listed = list(pods)
    for family in facts.families(service):
        before = len(found)
        for pod in listed:
            address = facts.pod_address(pod, family)
            if address and facts.has_endpoint(pod):
                group = Group(family, facts.pod_ports(pod, service))
                found.setdefault(group.key, group).endpoints.append(endpoint(pod, service, address, zones))
        if len(found) == before:  # a Service without endpoints has one empty slice
            empty = Group(family, [])
            found[empty.key] = empty
    return list(found.values())


def endpoint(pod: Object, service: Object, address: str, zones: Mapping[str, str]) -> Object:
    serving, terminating = pod_facts.is_ready(pod), is_deleting(pod)
    ready = facts.publishes_unready(service) or (serving and not terminating)
    entry: Object = {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": facts.target(pod),
    }
    node = pod_facts.node_name(pod)
    optional = {"nodeName": node, "zone": zones.get(node, ""), "hostname": facts.host_name(pod, service)}
    return entry | {name: value for name, value in optional.items() if value}


def template(service: Object) -> Template:
    reserved = {SERVICE_NAME, MANAGED_BY, facts.HEADLESS_LABEL}
    labels = {k: v for k, v in labels_of(service).items() if k not in reserved}
    labels |= {SERVICE_NAME: service["metadata"]["name"], MANAGED_BY: MANAGER}
    if facts.is_headless(service):
        labels[facts.HEADLESS_LABEL] = ""
    namespace, name = key_of(service)
    return Template(namespace, f"{name}-", labels, {}, owner_reference(service, SERVICES))


class EndpointSliceController(ManagedController):
    name = "endpointslice-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._services = context.informers.informer(SERVICES)
        self._pods = context.informers.informer(PODS)
        self._nodes = context.informers.informer(NODES)
        self._slices = context.informers.informer(ENDPOINT_SLICES)
        self._slices.add_index(SERVICE_NAME, _service_of)
        self._writer = SliceWriter(context.client, self._slices)
        self.enqueue_object(self._services)
        self.enqueue_by(self._slices, lambda s: [_service_key(s)] if is_managed(s) else [])
        facts.follow_pods(self._pods, self._services, self.queue.add)
        self._nodes.add_handler(self._zone_changed)

    def _zone_changed(self, _: str, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and labels_of(old).get(ZONE) != labels_of(new).get(ZONE):
            for service in self._services.store.list():
                self.queue.add(key_of(service))

    async def reconcile(self, key: Key) -> float | None:
        behind = self._writer.behind(key)
        if behind is not None:
            return behind
        service = self._services.store.get(*key)
        found = [s for s in self._slices.store.by_index(SERVICE_NAME, f"{key[0]}/{key[1]}") if is_managed(s)]
        if service is not None and (not facts.selects_pods(service) or is_deleting(service)):
            return None
        if service is None:
            wanted = plan([], found, Template(key[0], "", {}, {}, {}))
        else:
            pods = facts.pods_of(service, self._pods)
            wanted = plan(groups(service, pods, self._zones(pods)), found, template(service))
        await self._writer.carry_out(key, wanted)
        return None

    def _zones(self, pods: Iterable[Object]) -> dict[str, str]:
        names = {pod_facts.node_name(p) for p in pods}
        nodes = [node for name in names if (node := self._nodes.store.get("", name))]
        return {n["metadata"]["name"]: labels_of(n).get(ZONE, "") for n in nodes}


def is_managed(piece: Object) -> bool:
    return labels_of(piece).get(MANAGED_BY) == MANAGER


def _service_of(piece: Object) -> list[str]:
    name = labels_of(piece).get(SERVICE_NAME)
    return [f"{namespace_of(piece)}/{name}"] if name else []


def _service_key(piece: Object) -> Key:
    return namespace_of(piece), labels_of(piece).get(SERVICE_NAME, "")
