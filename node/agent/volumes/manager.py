"""Sets up the volumes of a pod, keeps them up to date, and takes them away. One line a kind of volume."""

import asyncio
import glob
import os
import shutil
from collections.abc import Awaitable, Mapping
from typing import Final

from node.agent import mounts
from node.agent.paths import NodePaths
from node.agent.pod_state import Object
from node.agent.volumes import config_map, downward_api, empty_dir, host_path, persistent, projected, secret
from node.agent.volumes.volume import MountFailed, Prepare, UnsupportedVolume, VolumeContext, VolumeError

KINDS: Final[Mapping[str, Prepare]] = {
    "csi": persistent.prepare_inline,
    "configMap": config_map.prepare,
    "downwardAPI": downward_api.prepare,
    "emptyDir": empty_dir.prepare,
    "ephemeral": persistent.prepare_ephemeral,
    "hostPath": host_path.prepare,
    "persistentVolumeClaim": persistent.prepare_claim,
    "projected": projected.prepare,
    "secret": secret.prepare,
}
PLUGINS: Final[Mapping[str, str]] = {
    "configMap": "kubernetes.io/configmap",
    "downwardAPI": "kubernetes.io/downward-api",
    "emptyDir": "kubernetes.io/empty-dir",
    "hostPath": "kubernetes.io/host-path",
    "projected": "kubernetes.io/projected",
    "secret": "kubernetes.io/secret",
}
"""Upstream's names of what does these kinds, as metrics tell them."""
IMAGE: Final = "image"
"""An image as a volume is mounted by the runtime: it has no path (KEP-4639)."""
READ_ONLY: Final = frozenset({"configMap", "downwardAPI", "projected", "secret"})


async def prepare(context: VolumeContext) -> dict[str, str]:
    """Volume name -> path on the host. Safe to repeat: it then updates contents. Raises VolumeError."""
    paths: dict[str, str] = {}
    for volume in context.pod["spec"].get("volumes") or ():
        kind = kind_of(volume)
        if kind == IMAGE:
            continue
        if kind not in KINDS:
            raise UnsupportedVolume(f'volume "{volume["name"]}": volumes of type {kind} are not supported')
        try:
            paths[volume["name"]] = await _measured(kind, KINDS[kind](volume, context), context)
        except MountFailed:
            raise
        except VolumeError as error:
            raise MountFailed("MountVolume.SetUp", volume["name"], error) from error
    return paths


async def _measured(kind: str, preparing: Awaitable[str], context: VolumeContext) -> str:
    """CSI counts its own, and what is behind a claim is counted as what it is."""
    if kind not in PLUGINS:
        return await preparing
    with context.storage.measured(PLUGINS[kind], "volume_mount"):
        return await preparing


def kind_of(volume: Object) -> str:
    return next((key for key, value in volume.items() if key != "name" and value is not None), "emptyDir")


def images(pod: Object) -> dict[str, Object]:
    """Volume name -> ``image`` source, of the volumes that are images."""
    return {v["name"]: v[IMAGE] for v in pod["spec"].get("volumes") or () if kind_of(v) == IMAGE}


def is_read_only(volume: Object) -> bool:
    """Whether no container may write to a volume, whatever its mount says."""
    kind = kind_of(volume)
    return kind in READ_ONLY or bool((volume.get(kind) or {}).get("readOnly"))


async def remove(paths: NodePaths, uid: str) -> None:
    """Unmount and delete everything that was made for a pod. Idempotent."""
    await asyncio.to_thread(_remove, paths.pod(uid))
    await asyncio.to_thread(remove_logs, paths, uid)


def remove_logs(paths: NodePaths, uid: str) -> None:
    """The log files of a pod that is gone."""
    for folder in glob.glob(os.path.join(glob.escape(paths.logs), f"*_{uid}")):
        shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: str) -> None:
    if not os.path.isdir(folder):
        return
    for point in mounts.mounted_below(folder):
        mounts.unmount(point)
    # A mount that stays would be emptied by deleting what is below it.
    if mounts.mounted_below(folder):
        raise OSError(f"{folder} still has mounts")
    shutil.rmtree(folder, ignore_errors=True)
