"""What the sides of CSI agree on: kinds, names, and what a CSIDriver object leaves unsaid.

Source: ``pkg/volume/csi/csi_util.go``, ``csi_attacher.go`` (names), ``pkg/volume/util`` (unique names).
"""

import hashlib
from typing import Final

from apimachinery.meta import Object
from apimachinery.scheme import kind_of

CSI_DRIVERS: Final = kind_of("csidrivers", "storage.k8s.io")
CSI_NODES: Final = kind_of("csinodes", "storage.k8s.io")
CSI_STORAGE_CAPACITIES: Final = kind_of("csistoragecapacities", "storage.k8s.io")
VOLUME_ATTACHMENTS: Final = kind_of("volumeattachments", "storage.k8s.io")


def attachment_name(driver: str, handle: str, node: str) -> str:
    """Of the VolumeAttachment of a volume to a node."""
    return f"csi-{hashlib.sha256(f'{handle}{driver}{node}'.encode()).hexdigest()}"


def unique_name(driver: str, handle: str) -> str:
    """A volume in ``status.volumesInUse`` and ``status.volumesAttached`` of a Node."""
    return f"kubernetes.io/csi/{driver}^{handle}"


def attach_required(driver: Object | None) -> bool:
    """By the CSIDriver object; a driver without one is attached."""
    return bool(((driver or {}).get("spec") or {}).get("attachRequired", True))
