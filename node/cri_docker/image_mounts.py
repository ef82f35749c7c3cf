"""Images as read-only volumes (KEP-4639): an image's file system, mounted once and shared by all who ask for it.

The engine's overlay2 layers are stacked by the kernel, in the engine's mount namespace: nothing is copied. Another
storage driver is refused by name.
"""

import asyncio
import ctypes
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from node import namespaces
from node.cri_docker.engine import Engine
from node.cri_docker.images import Images
from node.cri_docker.limits import engine_root
from node.cri_docker.refusal import NotFound, Refused
from protos.cri.runtime.v1 import api_pb2 as cri

_MS_RDONLY, _MNT_DETACH = 1, 2
_CREATE_SECONDS = 120.0
_LINKS = 100


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
            if not os.path.ismount(self._seen(folder)):
                await self._mount(image.id, folder)
        return f"{folder}{_inside(self._seen(folder), mount.image_sub_path)}"

    async def _mount(self, image_id: str, folder: Path) -> None:
        layers = await self._images.layers(image_id)
        # overlayfs wants two layers at least without an upper one.
        empty = str(self._folder / "empty")
        try:
            await self._in_engine(lambda: _mount_overlay([*layers, empty], str(folder)))
        except OSError as error:
            raise Refused(f"image {image_id} cannot be mounted: {error.strerror}") from error

    async def _in_engine(self, work: Callable[[], None]) -> None:
        """Where the engine, which makes the containers, sees it: in its mount namespace."""
        pid = self._engine.peer_pid()
        if engine_root(pid):
            await namespaces.enter(f"/proc/{pid}/ns/mnt", namespaces.MOUNT, work)
        else:
            work()

    def _seen(self, folder: Path) -> str:
        """A folder of the engine's, as this process sees it."""
        return f"{engine_root(self._engine.peer_pid())}{folder}"

    async def collect(self, used: set[str]) -> None:
        """Unmount what no container uses any more. ``used``: image ids."""
        recent = time.monotonic() - _CREATE_SECONDS
        self._wanted = {name: when for name, when in self._wanted.items() if when > recent}
        mounted = os.listdir(self._seen(self._folder)) if os.path.isdir(self._seen(self._folder)) else []
        for name in mounted:
            if name != "empty" and name not in self._wanted and f"sha256:{name}" not in used:
                await self._in_engine(partial(_unmount, str(self._folder / name)))


def _mount_overlay(layers: list[str], folder: str) -> None:
    for needed in (folder, layers[-1]):
        os.makedirs(needed, mode=0o755, exist_ok=True)
    options = "lowerdir=" + ":".join(layers)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"overlay", os.fsencode(folder), b"overlay", _MS_RDONLY, os.fsencode(options)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), folder)


def _unmount(folder: str) -> None:
    ctypes.CDLL(None).umount2(os.fsencode(folder), _MNT_DETACH)
    with suppress(OSError):  # still busy: the next time
        os.rmdir(folder)


def _inside(folder: str, sub_path: str) -> str:
    """A path within the image, with its slash; NotFound if it is not there, Refused if it leads out.

    Links are followed by hand, as seen from the image's root: ``realpath`` would leave it, and ``/proc/PID/root``.
    """
    parts, path = [part for part in sub_path.split("/") if part not in ("", ".")], ""
    for _ in range(_LINKS):
        if not parts:
            return path
        part = parts.pop(0)
        if part == "..":
            if not path:
                raise Refused(f"sub path {sub_path!r} leads out of the image")
            path = path.rpartition("/")[0]
            continue
        try:
            target = os.readlink(f"{folder}{path}/{part}")
        except FileNotFoundError:
            raise NotFound(f"sub path {sub_path!r} does not exist in the image") from None
        except OSError:  # no link
            path = f"{path}/{part}"
            continue
        path = "" if target.startswith("/") else path
        parts = [step for step in target.split("/") if step not in ("", ".")] + parts
    raise Refused(f"sub path {sub_path!r} has too many steps")
