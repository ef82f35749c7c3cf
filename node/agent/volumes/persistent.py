"""Volumes behind claims: ``persistentVolumeClaim`` and generic ``ephemeral`` ones. One line a source of volumes.

fsGroup is given to what the volume holds unless it holds that group already (``fsGroupChangePolicy: OnRootMismatch``
looks at the top alone), except on hostPath. Source: ``pkg/volume/{local,host_path}``, ``volume_linux.go``.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from apimachinery.meta import Object, name_of
from node.agent.csi.requests import of_inline, of_volume
from node.agent.volumes import host_path
from node.agent.volumes.volume import UnsupportedVolume, VolumeContext, VolumeError

_Source = Callable[[Object, VolumeContext], Awaitable[str]]


async def prepare_claim(volume: Object, context: VolumeContext) -> str:
    source = volume["persistentVolumeClaim"]
    return await _prepare(source["claimName"], context, read_only=bool(source.get("readOnly")))


async def prepare_ephemeral(volume: Object, context: VolumeContext) -> str:
    return await _prepare(f"{name_of(context.pod)}-{volume['name']}", context, owned=True)


async def prepare_inline(volume: Object, context: VolumeContext) -> str:
    return await context.csi.mount(of_inline(context.pod, volume), context)


async def _prepare(claim: str, context: VolumeContext, *, owned: bool = False, read_only: bool = False) -> str:
    volume = await context.bound.volume(context.pod, claim, owned=owned)
    spec = volume["spec"]
    if spec.get("volumeMode") == "Block":
        raise UnsupportedVolume(f"volume {name_of(volume)}: volumeMode Block is not supported")
    if "csi" in spec:
        return await context.csi.mount(of_volume(volume, claim, read_only), context)
    source = next((name for name in _SOURCES if name in spec), None)
    if source is None:
        raise UnsupportedVolume(f"volume {name_of(volume)}: its type is not supported, use local, hostPath or csi")
    return await _SOURCES[source](volume, context)


async def _host_path(volume: Object, context: VolumeContext) -> str:
    return await host_path.prepare(volume["spec"], context)


async def _local(volume: Object, context: VolumeContext) -> str:
    path = str(volume["spec"]["local"]["path"])
    if volume["spec"]["local"].get("fsType"):
        raise UnsupportedVolume(f"volume {name_of(volume)}: local.fsType (a device to be mounted) is not supported")
    if ".." in path.split("/"):
        raise VolumeError(f"volume {name_of(volume)}: its path {path} contains '..'")
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
