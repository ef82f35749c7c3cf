"""Which PersistentVolume fits which claim: the rules that the binder and the scheduler share. Pure.

A binding is two references that must agree: the volume's ``claimRef`` and the claim's ``volumeName``. The volume's is
written first, so that no two claims can take one volume. Source: ``pkg/controller/volume/persistentvolume`` and
``k8s.io/component-helpers/storage/volume``.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from apimachinery import quantity
from apimachinery.meta import Object, annotations_of, is_deleting, labels_of, name_of, namespace_of, uid_of
from apimachinery.scheme import kind_of
from apimachinery.selectors import from_object

STORAGE_CLASSES: Final = kind_of("storageclasses", "storage.k8s.io")
ATTRIBUTES_CLASSES: Final = kind_of("volumeattributesclasses", "storage.k8s.io")
SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"
STORAGE_PROVISIONER: Final = "volume.kubernetes.io/storage-provisioner"
BETA_STORAGE_PROVISIONER: Final = "volume.beta.kubernetes.io/storage-provisioner"
DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
LOCAL_PATH: Final = "kubeto.dev/local-path"
"""The provisioner that comes with Kubeto: a folder on the node that runs the claim's first pod."""
CLAIM_FINALIZER: Final = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER: Final = "kubernetes.io/pv-protection"
ATTRIBUTES_CLASS_FINALIZER: Final = "kubernetes.io/vac-protection"
_CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"


def class_of(obj: Object) -> str:
    """The name of a claim's or a volume's class, "" for none."""
    return str(annotations_of(obj).get(_CLASS_ANNOTATION) or (obj.get("spec") or {}).get("storageClassName") or "")


def attributes_classes_of(obj: Mapping[str, Any]) -> set[str]:
    """The VolumeAttributesClasses that a claim or a volume names: wanted, had, or being changed to."""
    status = obj.get("status") or {}
    names = (
        (obj.get("spec") or {}).get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return {str(name) for name in names if name}


def requested(claim: Object) -> int:
    """Bytes."""
    amount = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage") or "0"
    return quantity.value(amount)


def claim_reference(claim: Object) -> Object:
    return {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": namespace_of(claim),
        "name": name_of(claim),
        "uid": uid_of(claim),
        "resourceVersion": claim["metadata"].get("resourceVersion", ""),
    }


def is_for(volume: Object, claim: Object) -> bool:
    """Whether the volume is bound to, or kept for, this claim."""
    ref = volume["spec"].get("claimRef") or {}
    named = (ref.get("namespace"), ref.get("name")) == (namespace_of(claim), name_of(claim))
    return named and ref.get("uid") in (None, "", uid_of(claim))


def why_unfit(volume: Object, claim: Object) -> str:
    """What the volume lacks for the claim, "" if it fits. Says nothing of nodes."""
    spec, wanted = volume["spec"], claim["spec"]
    if quantity.value((spec.get("capacity") or {}).get("storage") or "0") < requested(claim):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if (spec.get("volumeMode") or "Filesystem") != (wanted.get("volumeMode") or "Filesystem"):
        return "incompatible volumeMode"
    if not set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return "incompatible accessMode"
    if spec.get("volumeAttributesClassName") != wanted.get("volumeAttributesClassName"):
        return "volumeAttributesClassName does not match"
    return ""


def best_match(claim: Object, volumes: Iterable[Object], *, kept_only: bool = False) -> Object | None:
    """The volume to bind: one kept for the claim, else the smallest free one that fits.

    ``kept_only``: the claim waits for its first pod; only a volume that names it may be bound before.
    """
    selector = from_object(claim["spec"].get("selector") or {})
    best: tuple[int, str, Object] | None = None
    for volume in volumes:
        if is_deleting(volume) or why_unfit(volume, claim):
            continue
        if volume["spec"].get("claimRef"):
            if is_for(volume, claim):
                return volume
            continue
        if kept_only or (volume.get("status") or {}).get("phase") != "Available":
            continue
        if selector.matches(labels_of(volume)):
            found = (quantity.value(volume["spec"]["capacity"]["storage"]), name_of(volume), volume)
            best = found if best is None or found[:2] < best[:2] else best
    return best[2] if best else None


def waits_for_consumer(claim: Object, storage_class: Object | None) -> bool:
    """Whether binding is put off until the scheduler has chosen a node for a pod."""
    delayed = (storage_class or {}).get("volumeBindingMode") == "WaitForFirstConsumer"
    return delayed and SELECTED_NODE not in annotations_of(claim)


def claimed(volume: Object, claim: Object) -> Object:
    """The volume with the claim's reference: what binds it."""
    spec = {**volume["spec"], "claimRef": claim_reference(claim)}
    bound = volume | {"spec": spec}
    return bound if volume["spec"].get("claimRef") else annotated(bound, {BOUND_BY_CONTROLLER: "yes"})


def annotated(obj: Object, annotations: Mapping[str, str]) -> Object:
    """A copy with these annotations added."""
    meta: dict[str, Any] = {**obj["metadata"], "annotations": {**annotations_of(obj), **annotations}}
    return {**obj, "metadata": meta}


def claims_of(pod: Object) -> list[str]:
    """Names of the claims that a pod mounts; an ephemeral volume's claim is named after pod and volume."""
    out = []
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            out.append(volume["persistentVolumeClaim"]["claimName"])
        elif volume.get("ephemeral"):
            out.append(f"{pod['metadata']['name']}-{volume['name']}")
    return out
