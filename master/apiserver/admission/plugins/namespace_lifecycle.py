"""NamespaceLifecycle: nothing is created where there is no namespace, or in one that is being deleted."""

from apimachinery import meta, scheme
from apimachinery.errors import Cause, NotFound

from ...registry.reader import Object, Reader
from ..chain import AdmissionRequest, Plugin
from ..refusal import forbidden

IMMORTAL = frozenset(("default", "kube-system", "kube-public"))


class NamespaceLifecycle(Plugin):
    name = "NamespaceLifecycle"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        if request.kind is scheme.NAMESPACES:
            return request.operation == "DELETE" and request.name in IMMORTAL
        # Subresources go on: a terminating namespace's pods still get tokens, bindings and evictions.
        # Reviews are about a namespace, not in it.
        inside = bool(request.namespace) and request.kind.group != "authorization.k8s.io"
        return request.operation == "CREATE" and inside and not request.subresource

    async def mutate(self, request: AdmissionRequest) -> None:
        """Refuses here, before other plugins look into a namespace that is not there."""
        if request.kind is scheme.NAMESPACES:
            raise forbidden(request, "this namespace may not be deleted")
        namespace = await self._namespace(request.namespace)
        if namespace is None:
            raise NotFound(f'namespaces "{request.namespace}" not found', name=request.namespace, kind="namespaces")
        if is_terminating(namespace) and request.kind.stored:
            why = f"unable to create new content in namespace {request.namespace} because it is being terminated"
            text = f"namespace {request.namespace} is being terminated"
            raise forbidden(request, why, [Cause("NamespaceTerminating", text, "metadata.namespace")])

    async def _namespace(self, name: str) -> Object | None:
        found = self._reader.get(scheme.NAMESPACES, "", name)
        return found if found is not None else await self._reader.get_consistent(scheme.NAMESPACES, "", name)


def is_terminating(namespace: Object) -> bool:
    return meta.is_deleting(namespace) or (namespace.get("status") or {}).get("phase") == "Terminating"
