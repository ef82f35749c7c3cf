"""What a pod wants of a driver, and the CSI messages that say so. Pure.

Source: ``pkg/volume/csi/{csi_mounter,csi_attacher,csi_client}.go``.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from apimachinery.meta import Object, name_of, namespace_of, uid_of
from node.agent.csi.drivers import Capability, Driver
from node.agent.csi.records import Record
from protos.csi.v1 import csi_pb2 as pb

PERSISTENT: Final = "Persistent"
EPHEMERAL: Final = "Ephemeral"
_Mode = pb.VolumeCapability.AccessMode
_MODES: Final = {
    "ReadWriteOnce": _Mode.SINGLE_NODE_WRITER,
    "ReadOnlyMany": _Mode.MULTI_NODE_READER_ONLY,
    "ReadWriteMany": _Mode.MULTI_NODE_MULTI_WRITER,
    "ReadWriteOncePod": _Mode.SINGLE_NODE_WRITER,
}
_PRECISE_MODES: Final = _MODES | {
    "ReadWriteOnce": _Mode.SINGLE_NODE_MULTI_WRITER,
    "ReadWriteOncePod": _Mode.SINGLE_NODE_SINGLE_WRITER,
}
_Ref = tuple[str, str] | None
"""Namespace and name of a secret."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A volume of a driver for one pod. ``name`` is the PersistentVolume's, or the pod's own name for an inline one."""

    name: str
    driver: str
    handle: str
    lifecycle: str = PERSISTENT
    claim: str = ""
    fs_type: str = ""
    read_only: bool = False
    block: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)
    access_modes: tuple[str, ...] = ("ReadWriteOnce",)
    mount_options: tuple[str, ...] = ()
    publish_secret: _Ref = None
    stage_secret: _Ref = None
    expand_secret: _Ref = None

    @property
    def steps(self) -> tuple[str, str]:
        """Upstream's names of staging and publishing, as events say them."""
        if self.block:
            return "MapVolume.SetUpDevice", "MapVolume.MapPodDevice"
        return "MountVolume.MountDevice", "MountVolume.SetUp"


def of_volume(volume: Object, claim: str, read_only: bool) -> Wanted:
    """What the claim of a pod wants of its PersistentVolume."""
    spec, source = volume["spec"], volume["spec"]["csi"]
    return Wanted(
        name=name_of(volume),
        driver=source["driver"],
        handle=source["volumeHandle"],
        claim=claim,
        fs_type=source.get("fsType") or "",
        read_only=read_only or bool(source.get("readOnly")),
        block=spec.get("volumeMode") == "Block",
        attributes=source.get("volumeAttributes") or {},
        access_modes=tuple(spec.get("accessModes") or ("ReadWriteOnce",)),
        mount_options=tuple(spec.get("mountOptions") or ()),
        publish_secret=_secret(source.get("nodePublishSecretRef")),
        stage_secret=_secret(source.get("nodeStageSecretRef")),
        expand_secret=_secret(source.get("nodeExpandSecretRef")),
    )


def of_inline(pod: Object, volume: Object) -> Wanted:
    """An ephemeral volume that lives and dies with its pod; its handle is made from the pod's uid and its name."""
    source = volume["csi"]
    secret, seed = source.get("nodePublishSecretRef"), f"{uid_of(pod)}{volume['name']}"
    return Wanted(
        name=volume["name"],
        driver=source["driver"],
        handle=f"csi-{hashlib.sha256(seed.encode()).hexdigest()}",
        lifecycle=EPHEMERAL,
        fs_type=source.get("fsType") or "",
        read_only=bool(source.get("readOnly")),
        attributes=source.get("volumeAttributes") or {},
        publish_secret=(namespace_of(pod), secret["name"]) if secret else None,
    )


def _secret(ref: Object | None) -> _Ref:
    return (ref.get("namespace", ""), ref.get("name", "")) if ref else None


def capability(wanted: Wanted, able: Collection[int], group: int | None) -> pb.VolumeCapability:
    """``able``: the driver's node capabilities. ``group``: the fsGroup, if the driver is to apply it."""
    modes = _PRECISE_MODES if Capability.SINGLE_NODE_MULTI_WRITER in able else _MODES
    made = pb.VolumeCapability(access_mode=_Mode(mode=modes[wanted.access_modes[0]]))
    if wanted.block:
        made.block.SetInParent()
        return made
    made.mount.fs_type = wanted.fs_type
    made.mount.mount_flags.extend(wanted.mount_options)
    made.mount.volume_mount_group = "" if group is None else str(group)
    return made


def unoffered(wanted: Wanted, driver: Object | None) -> str:
    """Why the driver offers no such volumes, by its CSIDriver object; "" if it does."""
    modes = ((driver or {}).get("spec") or {}).get("volumeLifecycleModes") or [PERSISTENT]
    if wanted.lifecycle in modes:
        return ""
    known = f"only supports {modes}" if driver is not None else "no CSIDriver object"
    return f'volume mode "{wanted.lifecycle}" not supported by driver {wanted.driver} ({known})'


def unlabelled(wanted: Wanted, driver: Object | None, pod: Object, selinux: bool) -> str:
    """Why the volume cannot have the pod's SELinux label (KEP-1710); "" where nobody asks for that."""
    asked = selinux and ((driver or {}).get("spec") or {}).get("seLinuxMount")
    once = "ReadWriteOncePod" in wanted.access_modes and wanted.lifecycle == PERSISTENT
    labelled = (pod["spec"].get("securityContext") or {}).get("seLinuxOptions")
    return f"seLinuxMount of driver {wanted.driver} is not supported" if asked and once and labelled else ""


def pod_info(pod: Object, wanted: Wanted) -> dict[str, str]:
    """What a driver with ``podInfoOnMount`` is told of the pod."""
    told = {
        "pod.name": name_of(pod),
        "pod.namespace": namespace_of(pod),
        "pod.uid": uid_of(pod),
        "serviceAccount.name": pod["spec"].get("serviceAccountName") or "default",
        "ephemeral": "true" if wanted.lifecycle == EPHEMERAL else "false",
    }
    return {f"csi.storage.k8s.io/{key}": value for key, value in told.items()}


def agent_applies_group(wanted: Wanted, driver: Object | None, able: Collection[int]) -> bool:
    """Whether fsGroup is given to the volume's files by the agent: by CSIDriver's ``fsGroupPolicy`` (KEP-1682)."""
    policy = ((driver or {}).get("spec") or {}).get("fsGroupPolicy") or "ReadWriteOnceWithFSType"
    if wanted.read_only or wanted.block or policy == "None" or Capability.VOLUME_MOUNT_GROUP in able:
        return False
    once = {"ReadWriteOnce", "ReadWriteOncePod"} & set(wanted.access_modes)
    return policy == "File" or bool(wanted.fs_type and once)


@dataclass(frozen=True, slots=True)
class Call:
    """All that is needed to mount one volume for one pod."""

    wanted: Wanted
    pod: Object
    driver: Driver
    able: frozenset[int]
    about: Object | None  # the CSIDriver object
    group: int | None
    record: Record

    def setting(self, name: str) -> object:
        return ((self.about or {}).get("spec") or {}).get(name)

    @property
    def capability(self) -> pb.VolumeCapability:
        group = self.group if Capability.VOLUME_MOUNT_GROUP in self.able else None
        return capability(self.wanted, self.able, group)
