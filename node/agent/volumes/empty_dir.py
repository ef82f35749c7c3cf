"""``emptyDir`` volumes: a folder of the pod's, or a tmpfs for medium Memory. Open to all users, whatever the umask."""

import asyncio
import os

from apimachinery import quantity
from node.agent import mounts
from node.agent.pod_state import Object
from node.agent.volumes.volume import UnsupportedVolume, VolumeContext, VolumeError


async def prepare(volume: Object, context: VolumeContext) -> str:
    source = volume["emptyDir"] or {}
    medium = source.get("medium") or ""
    if medium not in ("", "Memory"):
        raise UnsupportedVolume(f"emptyDir medium {medium} is not supported")
    folder = context.folder("empty-dir", volume["name"])
    size = quantity.value(source["sizeLimit"]) if source.get("sizeLimit") else 0
    try:
        await asyncio.to_thread(_make, folder, medium, size, context.fs_group)
    except OSError as error:
        raise VolumeError(f"emptyDir {volume['name']}: {error}") from error
    return folder


def _make(folder: str, medium: str, size: int, fs_group: int | None) -> None:
    if os.path.isdir(folder) and (medium != "Memory" or os.path.ismount(folder)):
        return
    os.makedirs(folder, exist_ok=True)
    if medium == "Memory" and not os.path.ismount(folder):
        mounts.mount_tmpfs(folder, size)
    mode = 0o1777 if medium == "Memory" else 0o777  # of a tmpfs the kubelet leaves the sticky bit as it is
    os.chmod(folder, mode if fs_group is None else mode | 0o2000)
    if fs_group is not None:
        os.chown(folder, -1, fs_group)
