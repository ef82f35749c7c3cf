"""DefaultStorageClass and DefaultIngressClass: who names no class gets the one that is marked as default."""

from apimachinery import meta, scheme
from apimachinery.persistent_volumes import DEFAULT_CLASS, STORAGE_CLASSES
from apimachinery.scheme import Kind

from ...registry.reader import Object, Reader
from ..chain import AdmissionRequest, Plugin
from ..refusal import forbidden

INGRESSES = scheme.kind_of("ingresses", "networking.k8s.io")
INGRESS_CLASSES = scheme.kind_of("ingressclasses", "networking.k8s.io")
STORAGE_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
INGRESS_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
INGRESS_CLASS_ANNOTATION = "kubernetes.io/ingress.class"


class _DefaultClass(Plugin):
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def _defaults(self, kind: Kind, annotation: str) -> list[Object]:
        marked = [c for c in self._reader.list(kind) if meta.annotations_of(c).get(annotation) == "true"]
        return sorted(marked, key=lambda c: (str(c["metadata"].get("creationTimestamp", "")), meta.name_of(c)))


class DefaultStorageClass(_DefaultClass):
    """Of several defaults the newest wins. A claim with "" wants no class and keeps that."""

    name = "DefaultStorageClass"

    def handles(self, request: AdmissionRequest) -> bool:
        created = request.operation == "CREATE" and not request.subresource
        return created and request.kind is scheme.PERSISTENT_VOLUME_CLAIMS

    async def mutate(self, request: AdmissionRequest) -> None:
        claim = request.object
        if claim is None or claim.get("spec", {}).get("storageClassName") is not None:
            return
        if STORAGE_CLASS_ANNOTATION in meta.annotations_of(claim):
            return
        if defaults := self._defaults(STORAGE_CLASSES, DEFAULT_CLASS):
            claim.setdefault("spec", {})["storageClassName"] = meta.name_of(defaults[-1])


class DefaultIngressClass(_DefaultClass):
    name = "DefaultIngressClass"

    def handles(self, request: AdmissionRequest) -> bool:
        return request.kind is INGRESSES and request.operation == "CREATE" and not request.subresource

    async def mutate(self, request: AdmissionRequest) -> None:
        ingress = request.object
        if ingress is None or ingress.get("spec", {}).get("ingressClassName") is not None:
            return
        if INGRESS_CLASS_ANNOTATION in meta.annotations_of(ingress):
            return
        defaults = self._defaults(INGRESS_CLASSES, INGRESS_DEFAULT)
        if len(defaults) > 1:
            raise forbidden(request, f"{len(defaults)} default IngressClasses were found, only 1 allowed")
        if defaults:
            ingress.setdefault("spec", {})["ingressClassName"] = meta.name_of(defaults[0])
