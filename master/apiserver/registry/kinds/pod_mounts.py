"""Validation of what containers do with volumes: ``volumeMounts`` and ``volumeDevices``, in upstream's words.

Source: ``k8s.io/kubernetes/pkg/apis/core/validation/validation.go`` (ValidateVolumeMounts, ValidateVolumeDevices).
"""

from collections.abc import Collection, Mapping
from typing import Any

from apimachinery.errors import Cause

from .causes import Causes, invalid, required

Object = dict[str, Any]

_OF_CLAIMS = ("persistentVolumeClaim", "ephemeral")


def validate_mounts(container: Object, volumes: Mapping[str, Object], field: str) -> Causes:
    """What a container mounts or has as devices of the pod's ``volumes`` by name."""
    mounts, devices = container.get("volumeMounts") or (), container.get("volumeDevices") or ()
    return [
        *_mounts(mounts, volumes, devices, f"{field}.volumeMounts"),
        *_devices(devices, volumes, mounts, f"{field}.volumeDevices"),
    ]


def _mounts(mounts: Collection[Object], volumes: Collection[str], devices: Collection[Object], field: str) -> Causes:
    causes: list[Cause] = []
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        place, name, path = f"{field}[{index}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            causes.append(required(f"{place}.name"))
        elif name not in volumes:
            causes.append(Cause("FieldValueNotFound", f'Not found: "{name}"', f"{place}.name"))
        if not path:
            causes.append(required(f"{place}.mountPath"))
        elif path in paths:
            causes.append(invalid(f"{place}.mountPath", path, "must be unique"))
        paths.add(path)
        causes += _subpaths(mount, place)
        if any(name == device.get("name") for device in devices):
            causes.append(invalid(f"{place}.name", name, "must not already exist in volumeDevices"))
        if any(path == device.get("devicePath") for device in devices):
            causes.append(invalid(f"{place}.mountPath", path, "must not already exist as a path in volumeDevices"))
    return causes


def _subpaths(mount: Object, field: str) -> Causes:
    causes: list[Cause] = []
    for key in ("subPath", "subPathExpr"):
        path = mount.get(key) or ""
        if path.startswith("/"):
            causes.append(invalid(f"{field}.{key}", path, "must be a relative path"))
        if ".." in path.split("/"):
            causes.append(invalid(f"{field}.{key}", path, "must not contain '..'"))
    if mount.get("subPath") and mount.get("subPathExpr"):
        causes.append(
            invalid(f"{field}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
        )
    return causes


def _devices(
    devices: Collection[Object], volumes: Mapping[str, Object], mounts: Collection[Object], field: str
) -> Causes:
    causes: list[Cause] = []
    names: set[str] = set()
    paths: set[str] = set()
    for index, device in enumerate(devices):
        place, name, path = f"{field}[{index}]", device.get("name", ""), device.get("devicePath", "")
        causes += _device_name(name, volumes, f"{place}.name")
        if name in names:
            causes.append(invalid(f"{place}.name", name, "must be unique"))
        if not path:
            causes.append(required(f"{place}.devicePath"))
        if path in paths:
            causes.append(invalid(f"{place}.devicePath", path, "must be unique"))
        if ".." in path.split("/"):
            causes.append(invalid(f"{place}.devicePath", path, "can not contain backsteps ('..')"))
        if any(name == mount.get("name") for mount in mounts):
            causes.append(invalid(f"{place}.name", name, "must not already exist in volumeMounts"))
        if any(path == mount.get("mountPath") for mount in mounts):
            causes.append(invalid(f"{place}.devicePath", path, "must not already exist as a path in volumeMounts"))
        names.add(name)
        paths.add(path)
    return causes


def _device_name(name: str, volumes: Mapping[str, Object], field: str) -> Causes:
    if not name:
        return [required(field)]
    if name not in volumes:
        return [Cause("FieldValueNotFound", f'Not found: "{name}"', field)]
    if any(volumes[name].get(kind) is not None for kind in _OF_CLAIMS):
        return []
    detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
    return [invalid(field, name, detail)]
