"""StorageObjectInUseProtection and PersistentVolumeClaimResize.

The first gives claims, volumes and classes of attributes the finalizers that keep them while they are used; controllers
take them off. The second lets a claim ask for more only where its class can give more.
"""

from apimachinery import quantity, scheme
from apimachinery.persistent_volumes import (
    ATTRIBUTES_CLASS_FINALIZER,
    ATTRIBUTES_CLASSES,
    CLAIM_FINALIZER,
    STORAGE_CLASSES,
    VOLUME_FINALIZER,
    class_of,
    requested,
)

from ...registry.reader import Reader
from ..chain import AdmissionRequest, Plugin
from ..refusal import forbidden

_FINALIZERS = {
    scheme.PERSISTENT_VOLUME_CLAIMS: CLAIM_FINALIZER,
    scheme.PERSISTENT_VOLUMES: VOLUME_FINALIZER,
    ATTRIBUTES_CLASSES: ATTRIBUTES_CLASS_FINALIZER,
}


class StorageObjectInUseProtection(Plugin):
    name = "StorageObjectInUseProtection"

    def handles(self, request: AdmissionRequest) -> bool:
        return request.kind in _FINALIZERS and request.operation == "CREATE" and not request.subresource

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.object is not None:
            finalizers = request.object["metadata"].setdefault("finalizers", [])
            if _FINALIZERS[request.kind] not in finalizers:
                finalizers.append(_FINALIZERS[request.kind])


class PersistentVolumeClaimResize(Plugin):
    name = "PersistentVolumeClaimResize"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        updated = request.operation == "UPDATE" and not request.subresource
        return updated and request.kind is scheme.PERSISTENT_VOLUME_CLAIMS

    async def validate(self, request: AdmissionRequest) -> None:
        new, old = request.object, request.old
        if new is None or old is None or requested(new) <= requested(old):
            return
        size = ((old.get("status") or {}).get("capacity") or {}).get("storage")
        if (old.get("status") or {}).get("phase") != "Bound":
            raise forbidden(request, "Only bound persistent volume claims can be expanded")
        found = self._reader.get(STORAGE_CLASSES, "", class_of(old)) or {}
        grown = size is None or requested(new) > quantity.value(size)
        if grown and not found.get("allowVolumeExpansion"):
            message = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc "
            raise forbidden(request, message + "must support resize")
