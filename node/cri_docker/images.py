"""The engine's images as the CRI's ImageService, kept in memory and refreshed when the engine says they changed.

An image's id is its ``sha256:`` configuration digest everywhere: in a pull's answer, in lists, in containers.
Pulls and removals go through the Docker SDK (``registry``); they are slow and rare, so a few threads carry them.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

from node.cri_docker.engine import Engine, EngineError
from node.cri_docker.refusal import CriError, NotFound, Refused
from protos.cri.runtime.v1 import api_pb2 as cri

_PULLS_AT_ONCE = 6
_DOCKER_HUB = ("docker.io/library/", "index.docker.io/library/", "docker.io/", "index.docker.io/")


class Images:
    def __init__(self, engine: Engine, docker_host: str, pinned: str) -> None:
        """``pinned`` is the sandboxes' image: a kubelet must not collect it."""
        self._engine, self._host, self._pinned = engine, docker_host, pinned
        self._images: dict[str, cri.Image] = {}
        self._refreshing, self._removing = asyncio.Lock(), asyncio.Lock()
        self._threads = ThreadPoolExecutor(_PULLS_AT_ONCE, "images")
        self._changes, self._seen = 1, 0
        """Changes there have been; how many of them ``_images`` has."""
        self._usage: tuple[int, int] = (-1, 0)
        """(changes seen when it was measured, bytes)."""

    def invalidate(self) -> None:
        """An image has come, gone or been renamed."""
        self._changes += 1

    async def list(self, reference: str = "") -> list[cri.Image]:
        await self.refresh()
        if not reference:
            return list(self._images.values())
        found = self._find(reference)
        return [found] if found else []

    async def find(self, reference: str) -> cri.Image | None:
        """By id, by a prefix of it, by tag or by digest."""
        await self.refresh()
        return self._find(reference)

    def name_of(self, image_id: str) -> str:
        """A tag, or else a digest, of an image known now; "" without."""
        image = self._images.get(image_id)
        return next(iter((*image.repo_tags, *image.repo_digests)), "") if image else ""

    async def pull(self, reference: str, auth: cri.AuthConfig | None) -> str:
        """Pull and return the image's id. Raises NotFound, Denied, Unavailable as the registry's answer tells."""
        if not reference:
            raise Refused("an image without a name cannot be pulled")
        await self._in_thread(lambda: _registry().pull(self._host, reference, auth))
        self.invalidate()
        image = await self.find(reference)
        if image is None:
            raise NotFound(f"image {reference!r} is gone right after its pull")
        return image.id

    async def remove(self, reference: str) -> None:
        """Remove an image with all its names. Nothing to remove is success."""
        async with self._removing:
            image = await self.find(reference)
            if image is None:
                return
            try:
                await self._in_thread(lambda: _registry().remove(self._host, image.id))
            except CriError:
                self.invalidate()
                if await self.find(image.id):  # else another node on this engine was quicker
                    raise
            self.invalidate()

    async def filesystem(self, root_dir: str) -> cri.FilesystemUsage:
        """What the layers of all images use. The engine adds it up slowly: only after images have changed."""
        changes, used = self._changes, self._usage[1]
        if self._usage[0] != changes:
            try:
                used = (await self._engine.get("/system/df", type="image")).get("LayersSize") or 0
                self._usage = (changes, used)
            except EngineError as error:
                if "already running" not in error.message:  # for another node: the figure before will do
                    raise
        return cri.FilesystemUsage(
            timestamp=time.time_ns(),
            fs_id=cri.FilesystemIdentifier(mountpoint=root_dir),
            used_bytes=cri.UInt64Value(value=used),
            inodes_used=cri.UInt64Value(value=0),
        )

    async def layers(self, reference: str) -> Sequence[str]:
        """The folders that an image's file system is stacked from, the uppermost first. Raises Refused, EngineError."""
        driver = (await self._engine.get(f"/images/{reference}/json")).get("GraphDriver") or {}
        if driver.get("Name") != "overlay2":
            raise Refused(f"looking into an image needs the engine's overlay2 driver, not {driver.get('Name')}")
        data = driver["Data"]
        return [data["UpperDir"], *filter(None, data.get("LowerDir", "").split(":"))]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def refresh(self) -> None:
        """Make ``name_of`` and all lists true as of this call; costs nothing while the engine has told of no change."""
        wanted = self._changes
        while self._seen < wanted:
            async with self._refreshing:
                if self._seen < wanted:
                    changes = self._changes
                    listed = await self._engine.get("/images/json")
                    self._images = {item["Id"]: await self._describe(item) for item in listed}
                    self._seen = changes

    async def _describe(self, item: dict[str, Any]) -> cri.Image:
        image = cri.Image(
            id=item["Id"],
            repo_tags=_real(item.get("RepoTags")),
            repo_digests=_real(item.get("RepoDigests")),
            size=item["Size"],
        )
        image.spec.image = item["Id"]
        image.pinned = familiar(self._pinned) in image.repo_tags
        if known := self._images.get(item["Id"]):
            image.username = known.username
            if known.HasField("uid"):
                image.uid.CopyFrom(known.uid)
        else:
            await self._add_user(image)
        return image

    async def _add_user(self, image: cri.Image) -> None:
        try:
            inspect = await self._engine.get(f"/images/{image.id}/json")
        except EngineError as error:
            if error.not_found:  # removed while we listed: the next event refreshes
                return
            raise
        user = ((inspect.get("Config") or {}).get("User") or "").split(":")[0]
        if user.isdigit():
            image.uid.value = int(user)
        else:
            image.username = user

    def _find(self, reference: str) -> cri.Image | None:
        if found := self._images.get(reference) or self._images.get(f"sha256:{reference}"):
            return found
        name = familiar(reference)
        for image in self._images.values():
            if name in image.repo_tags or name in image.repo_digests:
                return image
        short = reference.removeprefix("sha256:")
        if len(short) >= 8 and all(c in "0123456789abcdef" for c in short):
            matches = [i for i in self._images.values() if i.id.startswith(f"sha256:{short}")]
            return matches[0] if len(matches) == 1 else None
        return None

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _registry() -> ModuleType:
    """Imported at first use, in the thread that needs it: the SDK is a quarter second and 12 MB."""
    from node.cri_docker import registry

    return registry


def familiar(reference: str) -> str:
    """The short form the engine lists: without Docker Hub's host, with a tag or a digest (which wins)."""
    for prefix in _DOCKER_HUB:
        reference = reference.removeprefix(prefix)
    name, _, digest = reference.partition("@")
    tagged = ":" in name[name.rfind("/") + 1 :]
    if digest:
        return f"{name[: name.rfind(':')] if tagged else name}@{digest}"
    return name if tagged else f"{name}:latest"


def _real(names: Iterable[str] | None) -> Iterable[str]:
    """The engine lists ``<none>:<none>`` for an image without names."""
    return [name for name in names or () if not name.startswith("<none>")]
