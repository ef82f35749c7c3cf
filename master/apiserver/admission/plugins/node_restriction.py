"""NodeRestriction: a node agent writes only about itself and the pods on it, and cannot move itself elsewhere.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

from collections.abc import Iterator

from apimachinery import meta, pods, scheme

from ...auth.node_authorizer import LEASE_NAMESPACE, node_name
from ...registry.reader import Object, Reader
from ..chain import AdmissionRequest, Plugin
from ..refusal import forbidden
from .service_account import MIRROR_ANNOTATION

CSI_NODES = scheme.kind_of("csinodes", "storage.k8s.io")
_RESIZE = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")
RESERVED_PREFIX = "node-restriction.kubernetes.io"
OWN_LABELS = frozenset(
    (
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    )
)
OWN_PREFIXES = ("kubelet.kubernetes.io", "node.kubernetes.io")


class NodeRestriction(Plugin):
    name = "NodeRestriction"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        return request.user.name.startswith("system:node:") and bool(node_name(request.user))

    async def validate(self, request: AdmissionRequest) -> None:
        node, kind = node_name(request.user), request.kind
        if kind is scheme.PODS:
            self._pod(request, node)
        elif kind is scheme.NODES:
            _node(request, node)
        elif kind is scheme.LEASES and (_name(request) != node or request.namespace != LEASE_NAMESPACE):
            raise forbidden(request, f"can only access node lease {LEASE_NAMESPACE}/{node}")
        elif kind is scheme.PERSISTENT_VOLUME_CLAIMS and _beyond_size(request):
            raise forbidden(request, f"node {node!r} may only tell the size of a claim")
        elif kind is CSI_NODES and _name(request) != node:
            raise forbidden(request, f"can only access CSINode with the same name as the requesting node {node}")

    def _pod(self, request: AdmissionRequest, node: str) -> None:
        if request.operation == "CREATE" and not request.subresource:
            if MIRROR_ANNOTATION not in meta.annotations_of(request.object or {"metadata": {}}):
                raise forbidden(
                    request,
                    f"pod does not have {MIRROR_ANNOTATION!r} annotation, node {node!r} can only create mirror pods",
                )
            pod = request.object
        else:
            pod = request.old or self._reader.get(scheme.PODS, request.namespace, request.name)
        if pod is not None and pods.node_name(pod) != node:
            raise forbidden(request, f"node {node!r} can only touch pods with spec.nodeName set to itself")
        new, old = request.object, request.old
        if new is not None and old is not None and meta.labels_of(new) != meta.labels_of(old):
            raise forbidden(request, f"node {node!r} cannot update labels through pod status")


def _node(request: AdmissionRequest, node: str) -> None:
    if _name(request) != node:
        raise forbidden(request, f"node {node!r} is not allowed to modify node {_name(request)!r}")
    if request.object is None:
        return
    old = request.old or {"metadata": {}}
    if request.old is not None and _taints(request.object) != _taints(request.old):
        raise forbidden(request, f"node {node!r} is not allowed to modify taints")
    refused = sorted(_foreign_labels(request.object, old))
    if refused:
        raise forbidden(request, f"is not allowed to modify labels: {', '.join(refused)}")


def _beyond_size(request: AdmissionRequest) -> bool:
    """Whether of a claim's status more changes than what comes of a resize."""
    states = [(obj or {}).get("status") or {} for obj in (request.object, request.old)]
    new, old = ({k: v for k, v in status.items() if k not in _RESIZE} for status in states)
    return new != old


def _name(request: AdmissionRequest) -> str:
    return request.name or str(((request.object or {}).get("metadata") or {}).get("name", ""))


def _taints(node: Object) -> object:
    return (node.get("spec") or {}).get("taints") or []


def _foreign_labels(new: Object, old: Object) -> Iterator[str]:
    """Changed labels by which others place pods on nodes: a node may not attract what it should not see."""
    before, after = meta.labels_of(old), meta.labels_of(new)
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key) and not _may_set(key):
            yield key


def _may_set(label: str) -> bool:
    prefix, slash, _ = label.rpartition("/")
    if prefix == RESERVED_PREFIX or prefix.endswith("." + RESERVED_PREFIX):
        return False
    if not slash or not _is_kubernetes(prefix):
        return True
    return label in OWN_LABELS or any(prefix == p or prefix.endswith("." + p) for p in OWN_PREFIXES)


def _is_kubernetes(prefix: str) -> bool:
    return any(prefix == p or prefix.endswith("." + p) for p in ("kubernetes.io", "k8s.io"))
