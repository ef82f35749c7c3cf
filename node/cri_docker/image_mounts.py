"""Images as read-only volumes (KEP-4639): an image's file system, mounted once and shared by all who ask for it.

The engine's overlay2 layers are stacked by the kernel: nothing is copied. Another storage driver, or an engine
whose folders cannot be seen, is refused by name.
"""

import asyncio
import ctypes
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from node.cri_docker.engine import Engine
from node.cri_docker.images import Images
from node.cri_docker.limits import engine_root
from node.cri_docker.refusal import NotFound, Refused
from protos.cri.runtime.v1 import api_pb2 as cri

_MS_RDONLY, _MNT_DETACH = 1, 2
_CREATE_SECONDS = 120.0


class ImageMounts:
    def __init__(self, engine: Engine, images: Images, folder: Path) -> None:
        self._engine, self._images, self._folder = engine, images, folder
        self._lock = asyncio.Lock()
        self._wanted: dict[str, float] = {}
        """When an image was last asked for: its container is not known from the first moment."""

    async def ensure(self, mounts: Iterable[cri.Mount]) -> dict[str, str]:
        """Container path -> folder, for those of ``mounts`` that name an image; their ``image_ref`` becomes its id.

        Raises NotFound, Refused.
        """
        return {
            mount.container_path: await self._folder_of(mount)
            for mount in mounts
            if mount.HasField("image") and mount.image.image
        }

    async def _folder_of(self, mount: cri.Mount) -> str:
        if mount.host_path:
            raise Refused(f"mount {mount.container_path}: an image and a host path exclude each other")
        if not mount.readonly:
            raise Refused(f"mount {mount.container_path}: an image can only be mounted read-only")
        image = await self._images.find(mount.image.image)
        if image is None:
            raise NotFound(f"image {mount.image.image!r} of mount {mount.container_path} is not here")
        mount.image.image_ref = image.id
        folder = self._folder / image.id.removeprefix("sha256:")
        self._wanted[folder.name] = time.monotonic()
        async with self._lock:
            if not os.path.ismount(folder):
                await self._mount(image.id, folder)
        return str(_inside(folder, mount.image_sub_path))

    async def _mount(self, image_id: str, folder: Path) -> None:
        driver = (await self._engine.get(f"/images/{image_id}/json")).get("GraphDriver") or {}
        if driver.get("Name") != "overlay2":
            raise Refused(f"image volumes need the engine's overlay2 driver, not {driver.get('Name')}")
        root = engine_root(self._engine.peer_pid())
        data = driver["Data"]
        layers = [data["UpperDir"], *filter(None, data.get("LowerDir", "").split(":"))]
        folder.mkdir(parents=True, exist_ok=True)
        # overlayfs wants two layers at least without an upper one.
        empty = self._folder / "empty"
        empty.mkdir(exist_ok=True)
        lower = ":".join([*(os.path.realpath(root + layer) for layer in layers), str(empty)])
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"overlay", os.fsencode(folder), b"overlay", _MS_RDONLY, f"lowerdir={lower}".encode()):
            raise Refused(f"image {image_id} cannot be mounted: {os.strerror(ctypes.get_errno())}")
        if not os.path.ismount(f"{root}{folder}"):
            libc.umount2(os.fsencode(folder), _MNT_DETACH)
            raise Refused(f"image volumes need {self._folder} to be shared with the engine (rshared)")

    def collect(self, used: set[str]) -> None:
        """Unmount what no container uses any more. ``used``: image ids."""
        if not self._folder.is_dir():
            return
        libc = ctypes.CDLL(None, use_errno=True)
        recent = time.monotonic() - _CREATE_SECONDS
        self._wanted = {name: when for name, when in self._wanted.items() if when > recent}
        for folder in self._folder.iterdir():
            kept = folder.name == "empty" or folder.name in self._wanted or f"sha256:{folder.name}" in used
            if not kept:
                libc.umount2(os.fsencode(folder), _MNT_DETACH)
                if not os.path.ismount(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _inside(folder: Path, sub_path: str) -> Path:
    """A path within the image; NotFound if it is not there, Refused if it leads out."""
    if not sub_path:
        return folder
    path = Path(os.path.realpath(folder / sub_path.lstrip("/")))
    if not path.is_relative_to(os.path.realpath(folder)):
        raise Refused(f"sub path {sub_path!r} leads out of the image")
    if not path.exists():
        raise NotFound(f"sub path {sub_path!r} does not exist in the image")
    return path
