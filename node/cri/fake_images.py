"""The images of the fake runtime, and how it is made to behave."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from node.cri.fake_state import digest
from node.cri.runtime import RuntimeNotFound
from protos.cri.runtime.v1 import api_pb2 as pb


@dataclass(frozen=True, slots=True)
class FakeOptions:
    """How the fake behaves. Latencies are seconds."""

    sandbox_latency: float = 0.0
    create_latency: float = 0.0
    start_latency: float = 0.0
    stop_latency: float = 0.0
    pull_latency: float = 0.0
    missing_images: frozenset[str] = frozenset()  # names whose pull fails
    pulled_images: frozenset[str] | None = None  # None: every image is there already, except the missing
    write_logs: bool = True
    events: bool = True  # False: GetContainerEvents is unimplemented, as in containerd 1.6
    strict_groups: bool = True  # whether supplementalGroupsPolicy: Strict is supported
    pod_cidr: str = "10.88.0.0/16"  # until another is told; "": no sandbox is made before


class FakeImages:
    """The image service: every image is there, unless the options say otherwise."""

    def __init__(self, options: FakeOptions) -> None:
        self.options = options
        self._images: set[str] = set(options.pulled_images or ())

    def _has(self, image: str) -> bool:
        if image in self.options.missing_images:
            return False
        return self.options.pulled_images is None or image in self._images

    async def list_images(self) -> Sequence[pb.Image]:
        return [self._image(name) for name in sorted(self._images)]

    def _image(self, name: str) -> pb.Image:
        return pb.Image(id=digest(name), repo_tags=[name], size=1_000_000)

    async def image_status(self, image: str) -> pb.Image | None:
        return self._image(image) if self._has(image) else None

    async def pull_image(self, image: str, auth: pb.AuthConfig | None, sandbox_config: pb.PodSandboxConfig) -> str:
        await pause(self.options.pull_latency)
        if image in self.options.missing_images:
            raise RuntimeNotFound(f'failed to resolve reference "{image}": {image}: not found')
        self._images.add(image)
        return digest(image)

    async def remove_image(self, image: str) -> None:
        self._images -= {name for name in self._images if image in (name, digest(name))}

    async def image_fs_info(self) -> Sequence[pb.FilesystemUsage]:
        usage = pb.FilesystemUsage(
            timestamp=time.time_ns(),
            fs_id=pb.FilesystemIdentifier(mountpoint="/"),
            used_bytes=pb.UInt64Value(value=len(self._images) * 1_000_000),
        )
        return [usage]


async def pause(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
