"""PersistentVolumes, their claims, StorageClasses and what CSI adds."""

from typing import Any

from apimachinery import quantity
from apimachinery.errors import Cause
from apimachinery.persistent_volumes import DEFAULT_CLASS, class_of

from ..strategy import Strategy
from .causes import Causes, duplicate, forbidden, immutable, invalid, one_of, required
from .pod_defaults import set_default
from .printing import AGE, NAME, access_modes, at, number, or_none, text

Object = dict[str, Any]

_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_UNSET = "<unset>"
_PV_FIELDS = frozenset(
    ("accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
     "storageClassName", "volumeAttributesClassName", "volumeMode")
)  # fmt: skip
"""What a PersistentVolume's spec has besides its volume source."""
_CLAIM_UPDATE = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def _modes(spec: Object, field: str) -> Causes:
    modes = spec.get("accessModes") or []
    if not modes:
        return [required(field, "at least 1 access mode is required")]
    causes: list[Cause] = [c for m in modes for c in one_of(field, m, _MODES, optional=False)]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        causes.append(forbidden(field, "may not use ReadWriteOncePod with other access modes"))
    return causes


def _positive_storage(amounts: Object | None, field: str) -> Causes:
    amount = (amounts or {}).get("storage")
    if amount is None:
        return [required(f"{field}.storage" if field.endswith("requests") else field)]
    return [] if quantity.parse(amount) > 0 else [invalid(f"{field}.storage", amount, "must be greater than zero")]


class PersistentVolumeStrategy(Strategy):
    has_generation = False
    columns = (
        NAME,
        text("Capacity", "spec.capacity.storage", "capacity is the persistent volume's resources and capacity."),
        text("Access Modes", lambda v: access_modes(at(v, "spec.accessModes"))),
        text("Reclaim Policy", "spec.persistentVolumeReclaimPolicy"),
        text("Status", lambda v: "Terminating" if at(v, "metadata.deletionTimestamp") else at(v, "status.phase", "")),
        text(
            "Claim", lambda v: f"{r.get('namespace', '')}/{r.get('name', '')}" if (r := at(v, "spec.claimRef")) else ""
        ),
        text("StorageClass", class_of),
        text("VolumeAttributesClass", lambda v: at(v, "spec.volumeAttributesClassName", _UNSET)),
        text("Reason", "status.reason"),
        AGE,
        text("VolumeMode", lambda v: at(v, "spec.volumeMode", _UNSET), wide=True),
    )

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        set_default(spec, "persistentVolumeReclaimPolicy", "Retain")
        spec.setdefault("volumeMode", "Filesystem")
        set_default(obj.setdefault("status", {}), "phase", "Pending")

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Pending"}

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        policies = ("Delete", "Recycle", "Retain")
        field = "spec.persistentVolumeReclaimPolicy"
        return [
            *_modes(spec, "spec.accessModes"),
            *_positive_storage(spec.get("capacity"), "spec.capacity"),
            *one_of(field, spec.get("persistentVolumeReclaimPolicy"), policies),
            *one_of("spec.volumeMode", spec.get("volumeMode"), ("Block", "Filesystem")),
            *_volume_source(spec),
        ]

    def validate_update(self, obj: Object, old: Object) -> Causes:
        new, before = obj.get("spec") or {}, old.get("spec") or {}
        causes = []
        if any(new.get(k) != before.get(k) for k in {*new, *before} - _PV_FIELDS):
            detail = "spec.persistentvolumesource is immutable after creation"
            causes.append(forbidden("spec.persistentvolumesource", detail))
        if new.get("volumeMode") != before.get("volumeMode"):
            causes.append(immutable("spec.volumeMode", new.get("volumeMode")))
        return causes


def _volume_source(spec: Object) -> Causes:
    sources = [k for k in spec if k not in _PV_FIELDS and isinstance(spec[k], dict)]
    if not sources:
        return [required("spec", "must specify a volume type")]
    return [forbidden(f"spec.{k}", "may not specify more than 1 volume type") for k in sources[1:]]


class PersistentVolumeClaimStrategy(Strategy):
    has_generation = False
    columns = (
        NAME,
        text("Status", lambda c: "Terminating" if at(c, "metadata.deletionTimestamp") else at(c, "status.phase", "")),
        text("Volume", "spec.volumeName"),
        text("Capacity", lambda c: at(c, "status.capacity.storage", "") if at(c, "spec.volumeName") else ""),
        text("Access Modes", lambda c: access_modes(at(c, "status.accessModes")) if at(c, "spec.volumeName") else ""),
        text("StorageClass", class_of),
        text("VolumeAttributesClass", lambda c: at(c, "spec.volumeAttributesClassName", _UNSET)),
        AGE,
        text("VolumeMode", lambda c: at(c, "spec.volumeMode", _UNSET), wide=True),
    )

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
        set_default(obj.setdefault("status", {}), "phase", "Pending")

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Pending"}

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        requests = at(spec, "resources.requests")
        return _modes(spec, "spec.accessModes") + _positive_storage(requests, "spec.resources.requests")

    def validate_update(self, obj: Object, old: Object) -> Causes:
        new, before = obj.get("spec") or {}, old.get("spec") or {}
        # The binder fills in the volume and, retroactively, the default class.
        free = {"resources", "volumeAttributesClassName"} | {
            k for k in ("volumeName", "storageClassName") if not before.get(k)
        }
        changed = [k for k in {*new, *before} - free if new.get(k) != before.get(k)]
        causes = [forbidden("spec", _CLAIM_UPDATE)] if changed else []
        size, was = at(new, "resources.requests.storage"), at(before, "resources.requests.storage")
        shrinks = bool(size and was) and quantity.compare(size, was) < 0
        if shrinks and quantity.compare(size, at(old, "status.capacity.storage", "0")) <= 0:
            causes.append(forbidden("spec.resources.requests.storage", "field can not be less than status.capacity"))
        return causes


class StorageClassStrategy(Strategy):
    has_generation = False
    columns = (
        text("Name", lambda c: f"{at(c, 'metadata.name')}{_default_mark(c)}", "Name of the storage class"),
        text("Provisioner", "provisioner", "provisioner indicates the type of the provisioner."),
        text("ReclaimPolicy", lambda c: at(c, "reclaimPolicy", "Delete")),
        text("VolumeBindingMode", lambda c: at(c, "volumeBindingMode", "Immediate")),
        text("AllowVolumeExpansion", lambda c: "true" if c.get("allowVolumeExpansion") else "false"),
        AGE,
    )

    def default(self, obj: Object) -> None:
        set_default(obj, "reclaimPolicy", "Delete")
        set_default(obj, "volumeBindingMode", "Immediate")

    def validate(self, obj: Object) -> Causes:
        causes = [] if obj.get("provisioner") else [required("provisioner")]
        causes += one_of("reclaimPolicy", obj.get("reclaimPolicy"), ("Delete", "Retain"))
        return causes + one_of("volumeBindingMode", obj.get("volumeBindingMode"), ("Immediate", "WaitForFirstConsumer"))

    def validate_update(self, obj: Object, old: Object) -> Causes:
        fixed = ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode")
        return [forbidden(k, f"updates to {k} are forbidden.") for k in fixed if obj.get(k) != old.get(k)]


def _default_mark(storage_class: Object) -> str:
    marked = at(storage_class, "metadata.annotations", {}).get(DEFAULT_CLASS) == "true"
    return " (default)" if marked else ""


class CSIDriverStrategy(Strategy):
    columns = (
        NAME,
        text("AttachRequired", lambda d: "true" if at(d, "spec.attachRequired", True) else "false"),
        text("PodInfoOnMount", lambda d: "true" if at(d, "spec.podInfoOnMount") else "false"),
        text("StorageCapacity", lambda d: "true" if at(d, "spec.storageCapacity") else "false"),
        text(
            "TokenRequests",
            lambda d: ",".join(t.get("audience", "") for t in at(d, "spec.tokenRequests", ())) or _UNSET,
        ),
        text("RequiresRepublish", lambda d: "true" if at(d, "spec.requiresRepublish") else "false"),
        text("Modes", lambda d: or_none(",".join(at(d, "spec.volumeLifecycleModes", ())))),
        AGE,
    )

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        defaults: Object = {"attachRequired": True, "podInfoOnMount": False, "storageCapacity": False}
        defaults |= {"requiresRepublish": False, "seLinuxMount": False, "fsGroupPolicy": "ReadWriteOnceWithFSType"}
        for key, value in defaults.items():
            spec.setdefault(key, value)
        set_default(spec, "volumeLifecycleModes", ["Persistent"])

    def validate(self, obj: Object) -> Causes:
        modes, policies = ("Ephemeral", "Persistent"), ("File", "None", "ReadWriteOnceWithFSType")
        causes = one_of("spec.fsGroupPolicy", at(obj, "spec.fsGroupPolicy"), policies)
        for mode in at(obj, "spec.volumeLifecycleModes", ()):
            causes += one_of("spec.volumeLifecycleModes", mode, modes, optional=False)
        return causes

    def validate_update(self, obj: Object, old: Object) -> Causes:
        fixed = ("attachRequired", "volumeLifecycleModes", "fsGroupPolicy")
        return [
            immutable(f"spec.{k}", at(obj, f"spec.{k}")) for k in fixed if at(obj, f"spec.{k}") != at(old, f"spec.{k}")
        ]


class CSINodeStrategy(Strategy):
    has_generation = False
    unconditional_update = False

    def validate(self, obj: Object) -> Causes:
        causes: list[Cause] = []
        names = [driver.get("name", "") for driver in at(obj, "spec.drivers", ())]
        for index, driver in enumerate(at(obj, "spec.drivers", ())):
            field = f"spec.drivers[{index}]"
            causes += [required(f"{field}.{key}") for key in ("name", "nodeID") if not driver.get(key)]
            if names[index] in names[:index]:
                causes.append(duplicate(f"{field}.name", names[index]))
        return causes

    columns = (
        NAME,
        number(
            "Drivers",
            lambda n: len(at(n, "spec.drivers", ())),
            "Drivers indicates the number of CSI drivers registered on the node",
        ),
        AGE,
    )


class VolumeAttachmentStrategy(Strategy):
    status_metadata = ()
    has_generation = False
    unconditional_update = False
    status_zeros = {"attached": False}
    columns = (
        NAME,
        text("Attacher", "spec.attacher", "the name of the volume driver that must handle this request."),
        text("PV", "spec.source.persistentVolumeName", "the volume that should be attached."),
        text("Node", "spec.nodeName", "The node that the volume should be attached to."),
        text(
            "Attached", lambda a: "true" if at(a, "status.attached") else "false", "Indicates the volume is attached."
        ),
        AGE,
    )

    def validate(self, obj: Object) -> Causes:
        causes = [required(f"spec.{key}") for key in ("attacher", "nodeName") if not at(obj, f"spec.{key}")]
        given = [k for k in ("inlineVolumeSpec", "persistentVolumeName") if at(obj, f"spec.source.{k}") is not None]
        if len(given) != 1:
            detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
            causes.append(required("spec.source", detail))
        return causes

    def validate_update(self, obj: Object, old: Object) -> Causes:
        spec = obj.get("spec")
        return [] if spec == old.get("spec") else [invalid("spec", spec, "field is immutable")]


class VolumeAttributesClassStrategy(Strategy):
    has_generation = False
    columns = (NAME, text("DriverName", "driverName", "Name of the CSI driver"), AGE)

    def validate(self, obj: Object) -> Causes:
        causes = [] if obj.get("driverName") else [required("driverName")]
        if not obj.get("parameters"):
            causes.append(required("parameters", "must contain at least one key/value pair"))
        return causes

    def validate_update(self, obj: Object, old: Object) -> Causes:
        fixed = ("driverName", "parameters")
        return [forbidden(k, f"updates to {k} are forbidden.") for k in fixed if obj.get(k) != old.get(k)]


class CSIStorageCapacityStrategy(Strategy):
    has_generation = False
    columns = (
        NAME,
        text("StorageClassName", "storageClassName"),
        text("Capacity", lambda c: at(c, "capacity", "<unset>")),
    )

    def validate(self, obj: Object) -> Causes:
        causes = [] if obj.get("storageClassName") else [required("storageClassName")]
        amount = obj.get("capacity")
        if amount is not None and quantity.parse(amount) < 0:
            causes.append(invalid("capacity", amount, "must be greater than or equal to 0"))
        return causes

    def validate_update(self, obj: Object, old: Object) -> Causes:
        fixed = ("nodeTopology", "storageClassName")
        return [immutable(k, obj.get(k)) for k in fixed if obj.get(k) != old.get(k)]
