"""Volumes behind claims: ``persistentVolumeClaim`` and generic ``ephemeral`` ones. One line a source of volumes.

What is got ready is a folder or, of ``volumeMode: Block``, a device that containers have under ``volumeDevices``.
fsGroup is given to what the volume holds unless it holds that group already (``fsGroupChangePolicy: OnRootMismatch``
looks at the top alone), except on hostPath. Source: ``pkg/volume/{local,host_path}``, ``volume_linux.go``.
"""

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from apimachinery.meta import Object, name_of
from node.agent.csi.requests import of_inline, of_volume
from node.agent.pod_state import ephemeral_containers, init_containers, regular_containers
from node.agent.volumes import host_path
from node.agent.volumes.volume import MountFailed, UnsupportedVolume, VolumeContext, VolumeError

_Source = Callable[[Object, VolumeContext], Awaitable[str]]


async def prepare_claim(volume: Object, context: VolumeContext) -> str:
    source = volume["persistentVolumeClaim"]
    found = await context.bound.volume(context.pod, source["claimName"])
    return await _prepare(volume["name"], found, source["claimName"], context, bool(source.get("readOnly")))


async def prepare_ephemeral(volume: Object, context: VolumeContext) -> str:
    claim = f"{name_of(context.pod)}-{volume['name']}"
    found = await context.bound.volume(context.pod, claim, owned=True)
    return await _prepare(volume["name"], found, claim, context, read_only=False)


async def prepare_inline(volume: Object, context: VolumeContext) -> str:
    return await context.csi.mount(of_inline(context.pod, volume), context)


async def _prepare(name: str, volume: Object, claim: str, context: VolumeContext, read_only: bool) -> str:
    """``name`` is the pod's for the volume."""
    spec = volume["spec"]
    mode = spec.get("volumeMode") or "Filesystem"
    wrong = "volumeMounts" if mode == "Block" else "volumeDevices"
    if _is_used(context.pod, name, wrong):
        raise VolumeError(f"volume {name} has volumeMode {mode}, but is specified in {wrong}")
    if "csi" in spec:
        return await context.csi.mount(of_volume(volume, claim, read_only), context)
    sources = _DEVICES if mode == "Block" else _SOURCES
    source = next((name for name in sources if name in spec), None)
    if source is None:
        some = " or ".join(("csi", *sources))
        raise UnsupportedVolume(f"volume {name_of(volume)}: no {mode} volumes of its type, use {some}")
    plugin = {"local": "local-volume", "hostPath": "host-path"}[source]
    with context.storage.measured(f"kubernetes.io/{plugin}", "map_volume" if mode == "Block" else "volume_mount"):
        return await sources[source](volume, context)


def _is_used(pod: Object, volume: str, field: str) -> bool:
    """Whether a container has the volume under ``volumeMounts`` or under ``volumeDevices``."""
    containers = (*regular_containers(pod), *init_containers(pod), *ephemeral_containers(pod))
    return any(use["name"] == volume for container in containers for use in container.get(field) or ())


async def _host_path(volume: Object, context: VolumeContext) -> str:
    return await host_path.prepare(volume["spec"], context)


async def _local_device(volume: Object, context: VolumeContext) -> str:
    """The device itself, whatever links lead to it: a link may be told to lead elsewhere tomorrow."""
    path = await asyncio.to_thread(os.path.realpath, _local_path(volume))
    try:
        mode = (await asyncio.to_thread(os.stat, path)).st_mode
    except OSError as error:
        raise MountFailed("MapVolume.MapPodDevice", name_of(volume), error) from error
    if not stat.S_ISBLK(mode):
        raise MountFailed("MapVolume.MapPodDevice", name_of(volume), f"{path} is not a block device")
    return path


def _local_path(volume: Object) -> str:
    path = str(volume["spec"]["local"]["path"])
    if ".." in path.split("/"):
        raise VolumeError(f"volume {name_of(volume)}: its path {path} contains '..'")
    return path


async def _local(volume: Object, context: VolumeContext) -> str:
    path = _local_path(volume)
    if volume["spec"]["local"].get("fsType"):
        raise UnsupportedVolume(f"volume {name_of(volume)}: local.fsType (a device to be mounted) is not supported")
    if not await asyncio.to_thread(os.path.isdir, path):
        raise VolumeError(f'volume {name_of(volume)}: path "{path}" does not exist')
    await give_group(path, context)
    return path


async def give_group(path: str, context: VolumeContext) -> None:
    """Let the pod's fsGroup read and write all that a volume holds. Raises VolumeError."""
    group = context.fs_group
    if group is None:
        return
    policy = (context.pod["spec"].get("securityContext") or {}).get("fsGroupChangePolicy") or "Always"
    try:
        await asyncio.to_thread(_chown, path, group, policy == "OnRootMismatch")
    except OSError as error:
        raise VolumeError(f"fsGroup {group} for {path}: {error}") from error


def _chown(path: str, group: int, only_if_root_differs: bool) -> None:
    top = os.stat(path)
    if only_if_root_differs and top.st_gid == group and top.st_mode & 0o2060 == 0o2060:
        return
    for folder, _, files in os.walk(path, topdown=False):  # the top last: it says that all is done
        for name in files:
            _give(os.path.join(folder, name), group, 0o060)
        _give(folder, group, 0o2070)


def _give(path: str, group: int, bits: int) -> None:
    os.chown(path, -1, group, follow_symlinks=False)
    if not os.path.islink(path):
        os.chmod(path, os.stat(path).st_mode & 0o7777 | bits)


_SOURCES: Final[Mapping[str, _Source]] = {"local": _local, "hostPath": _host_path}
_DEVICES: Final[Mapping[str, _Source]] = {"local": _local_device}
