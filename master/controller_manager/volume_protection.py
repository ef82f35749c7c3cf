"""Keeps claims that pods use, volumes that are bound, and classes that either names from going away under them.

Admission gives each its finalizer; here it is taken off when the object is being deleted and free. Source:
``pkg/controller/volume/{pvcprotection,pvprotection,vacprotection}``.
"""

from apimachinery.errors import NotFound
from apimachinery.meta import Key, Object, is_deleting, key_of, namespace_of
from apimachinery.persistent_volumes import (
    ATTRIBUTES_CLASS_FINALIZER,
    ATTRIBUTES_CLASSES,
    CLAIM_FINALIZER,
    VOLUME_FINALIZER,
    attributes_classes_of,
    claims_of,
)
from apimachinery.scheme import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, Kind
from master.controller_manager.frame import Context, ManagedController

BY_CLAIM = "claims"
"""An index of pods, with ``claim_values``."""
BY_CLASS = "attributes classes"
"""An index of claims and of volumes, with ``attributes_classes_of``."""


def claim_values(pod: Object) -> list[str]:
    return [f"{namespace_of(pod)}/{name}" for name in claims_of(pod)]


class _Protection(ManagedController):
    kind: Kind
    finalizer: str

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._objects = context.informers.informer(self.kind)
        self.enqueue_object(self._objects)

    async def reconcile(self, key: Key) -> None:
        obj = self._objects.store.get(*key)
        if obj is None:
            return
        has = self.finalizer in (obj["metadata"].get("finalizers") or ())
        if is_deleting(obj) and has and not await self.in_use(obj):
            await self._set(obj, [f for f in obj["metadata"]["finalizers"] if f != self.finalizer])
        elif not is_deleting(obj) and not has:
            await self._set(obj, [*(obj["metadata"].get("finalizers") or ()), self.finalizer])

    async def in_use(self, obj: Object) -> bool:
        raise NotImplementedError

    async def _set(self, obj: Object, finalizers: list[str]) -> None:
        try:
            await self.client.update(self.kind, {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}})
        except NotFound:
            self.log.debug("Gone already", key=key_of(obj))


class ClaimProtectionController(_Protection):
    name = "persistentvolumeclaim-protection-controller"
    kind, finalizer = PERSISTENT_VOLUME_CLAIMS, CLAIM_FINALIZER

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._pods = context.informers.informer(PODS)
        self._pods.add_index(BY_CLAIM, claim_values)
        self.enqueue_by(self._pods, lambda pod: [(namespace_of(pod), name) for name in claims_of(pod)])

    async def in_use(self, obj: Object) -> bool:
        """By a pod on a node that has not ended; asked of the API server too, for the cache may lag."""
        namespace, name = key_of(obj)
        if any(_holds(pod) for pod in self._pods.store.by_index(BY_CLAIM, f"{namespace}/{name}")):
            return True
        pods = await self.client.list(PODS, namespace)
        return any(_holds(pod) for pod in pods.items if name in claims_of(pod))


def _holds(pod: Object) -> bool:
    scheduled = bool((pod.get("spec") or {}).get("nodeName"))
    return scheduled and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


class VolumeProtectionController(_Protection):
    name = "persistentvolume-protection-controller"
    kind, finalizer = PERSISTENT_VOLUMES, VOLUME_FINALIZER

    async def in_use(self, obj: Object) -> bool:
        return (obj.get("status") or {}).get("phase") == "Bound"


class AttributesClassProtectionController(_Protection):
    name = "volumeattributesclass-protection-controller"
    kind, finalizer = ATTRIBUTES_CLASSES, ATTRIBUTES_CLASS_FINALIZER

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._users = [context.informers.informer(kind) for kind in (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES)]
        for users in self._users:
            users.add_index(BY_CLASS, attributes_classes_of)
            self.enqueue_by(users, lambda obj: [("", name) for name in attributes_classes_of(obj)])

    async def in_use(self, obj: Object) -> bool:
        """By a claim or a volume; asked of the API server too, for the cache may lag."""
        name = obj["metadata"]["name"]
        if any(users.store.by_index(BY_CLASS, name) for users in self._users):
            return True
        for kind in (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES):
            found = await self.client.list(kind)
            if any(name in attributes_classes_of(one) for one in found.items):
                return True
        return False
