"""Mirrors Endpoints that people or operators wrote for Services without selector into EndpointSlices.

Source: ``pkg/controller/endpointslicemirroring``.
"""

from apimachinery.meta import Key, Object, annotations_of, is_deleting, key_of, labels_of, namespace_of, owner_reference
from apimachinery.scheme import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from master.controller_manager import endpoint_facts as facts
from master.controller_manager.endpointslice import MANAGED_BY, SERVICE_NAME
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.slice_writer import SliceWriter
from master.controller_manager.slices import Group, Template, plan

MANAGER = "endpointslicemirroring-controller.k8s.io"
MAX_ENDPOINTS_PER_SUBSET = 1000
_SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_UNCOPIED = {"kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"}
_INDEX = "mirror-of"


def is_mirrored(endpoints: Object | None, service: Object | None) -> bool:
    """Whether the Endpoints are to be mirrored: not those of a selector, of a leader election, or marked."""
    if endpoints is None or service is None or is_deleting(endpoints):
        return False
    if labels_of(endpoints).get(_SKIP) == "true" or _LEADER in annotations_of(endpoints):
        return False
    return not (service.get("spec") or {}).get("selector")


def groups(endpoints: Object) -> list[Group]:
    """The endpoints by address type and ports; only those with an address, which Endpoints always have."""
    found: dict[bytes, Group] = {}
    for subset in endpoints.get("subsets") or ():
        ports = [{"protocol": "TCP", "name": "", **p} for p in subset.get("ports") or ()]
        listed = [(a, True) for a in subset.get("addresses") or ()]
        listed += [(a, False) for a in subset.get("notReadyAddresses") or ()]
        for address, ready in listed[:MAX_ENDPOINTS_PER_SUBSET]:
            group = Group(facts.family_of(address["ip"]), ports)
            found.setdefault(group.key, group).endpoints.append(_endpoint(address, ready))
    return list(found.values())


def _endpoint(address: Object, ready: bool) -> Object:
    entry: Object = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    return entry | {name: address[name] for name in ("hostname", "nodeName", "targetRef") if address.get(name)}


def template(endpoints: Object) -> Template:
    namespace, name = key_of(endpoints)
    labels = {**labels_of(endpoints), SERVICE_NAME: name, MANAGED_BY: MANAGER}
    annotations = {k: v for k, v in annotations_of(endpoints).items() if k not in _UNCOPIED}
    return Template(namespace, f"{name}-", labels, annotations, owner_reference(endpoints, ENDPOINTS))


class EndpointSliceMirroringController(ManagedController):
    name = "endpointslice-mirroring-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._services = context.informers.informer(SERVICES)
        self._endpoints = context.informers.informer(ENDPOINTS)
        self._slices = context.informers.informer(ENDPOINT_SLICES)
        self._slices.add_index(_INDEX, lambda s: [f"{k[0]}/{k[1]}" for k in _mirror_of(s)])
        self._writer = SliceWriter(context.client, self._slices)
        self.enqueue_object(self._endpoints)
        self.enqueue_object(self._services)
        self.enqueue_by(self._slices, _mirror_of)

    async def reconcile(self, key: Key) -> float | None:
        behind = self._writer.behind(key)
        if behind is not None:
            return behind
        endpoints, service = self._endpoints.store.get(*key), self._services.store.get(*key)
        found = self._slices.store.by_index(_INDEX, f"{key[0]}/{key[1]}")
        if endpoints is not None and is_mirrored(endpoints, service):
            wanted = plan(groups(endpoints), found, template(endpoints), MAX_ENDPOINTS_PER_SUBSET)
        else:
            wanted = plan([], found, Template(key[0], "", {}, {}, {}))
        await self._writer.carry_out(key, wanted)
        return None


def _mirror_of(piece: Object) -> list[Key]:
    labels = labels_of(piece)
    if labels.get(MANAGED_BY) != MANAGER or not labels.get(SERVICE_NAME):
        return []
    return [(namespace_of(piece), labels[SERVICE_NAME])]
