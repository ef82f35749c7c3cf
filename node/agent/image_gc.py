"""Removes images that nobody needs, when the disk fills: those that this agent pulled, the longest unused first.

Images that were there before are never touched: the engine may be the user's own. Source: kubelet
``images/image_gc_manager.go``; the thresholds are upstream's defaults.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from typing import Final

import orjson

from apimachinery import whole_file
from apimachinery.logging import get_logger
from node.agent.host import Filesystem, HostReader, read_filesystem
from node.cri.runtime import Runtime, RuntimeFault
from protos.cri.runtime.v1 import api_pb2 as pb

_log = get_logger(__name__)
HIGH: Final = 0.85
LOW: Final = 0.80
MIN_AGE_SECONDS: Final = 120.0
_INTERVAL_SECONDS: Final = 300.0


class PulledImages:
    """Image ids that this agent pulled, with when they were last needed (seconds since 1970); kept in a file."""

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self.used: dict[str, float] = {}
        with contextlib.suppress(FileNotFoundError, orjson.JSONDecodeError), open(path, "rb") as file:
            self.used = orjson.loads(file.read())

    def pulled(self, image_id: str) -> None:
        self.used[image_id] = self._clock()
        self.save()

    def in_use(self, image_ids: set[str]) -> None:
        for image_id in self.used.keys() & image_ids:
            self.used[image_id] = self._clock()

    def forget(self, image_id: str) -> None:
        self.used.pop(image_id, None)

    def save(self) -> None:
        whole_file.replace(self._path, orjson.dumps(self.used))


class ImageFs:
    """The file system that the runtime keeps its images on."""

    def __init__(self, runtime: Runtime, host: HostReader) -> None:
        self._runtime, self._host = runtime, host
        self._folder = ""

    async def read(self) -> tuple[Filesystem, bool]:
        """What there is of it, and whether it is apart from the node's own. Raises RuntimeFault.

        Of a runtime whose files are not seen from here, the node's own counts.
        """
        if not self._folder:
            told = [usage.fs_id.mountpoint for usage in await self._runtime.image_fs_info()]
            self._folder = next((folder for folder in told if os.path.isdir(folder)), self._host.root)
        own = self._host.load().disk
        found = read_filesystem(self._folder)
        return (found, True) if found.device != own.device else (own, False)


class ImageGc:
    """``run`` it; ``remove_unused`` clears at once what can go."""

    def __init__(self, runtime: Runtime, pulled: PulledImages, host: HostReader) -> None:
        self._runtime, self._pulled, self._fs = runtime, pulled, ImageFs(runtime, host)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            try:
                await self.look()
            except (RuntimeFault, OSError) as error:
                _log.warning("Image collection failed, trying again", error=str(error))

    async def look(self) -> None:
        """Free down to the low mark when the disk is fuller than the high one."""
        fs, _ = await self._fs.read()
        used = fs.total - fs.free
        if used >= fs.total * HIGH:
            await self.remove_unused(int(used - fs.total * LOW), MIN_AGE_SECONDS)

    async def remove_unused(self, enough: int | None = None, min_age: float = 0.0) -> int:
        """Remove images until ``enough`` bytes are freed (None: all that can go). The bytes freed."""
        freed = 0
        for image in await self._removable(min_age):
            if enough is not None and freed >= enough:
                break
            await self._runtime.remove_image(image.id)
            self._pulled.forget(image.id)
            freed += image.size
            _log.info("Image removed", image=image.id, names=list(image.repo_tags), bytes=image.size)
        if freed:
            await asyncio.to_thread(self._pulled.save)
        return freed

    async def _removable(self, min_age: float) -> list[pb.Image]:
        if not self._pulled.used:
            return []
        containers = await self._runtime.list_containers({})
        needed = {name for c in containers for name in (c.image_id, c.image_ref) if name}
        self._pulled.in_use(needed)
        before = time.time() - min_age
        images = [i for i in await self._runtime.list_images() if not i.pinned and i.id not in needed]
        old = [i for i in images if self._pulled.used.get(i.id, before + 1) <= before]
        return sorted(old, key=lambda i: self._pulled.used[i.id])
