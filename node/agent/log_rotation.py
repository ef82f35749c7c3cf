"""Keeps container logs from filling the disk: a log over 10 MiB is moved aside, and five files of a container are kept.

Source: kubelet ``logs/container_log_manager.go`` (without its compression).
"""

import asyncio
import os
import time
from typing import Final

from apimachinery.logging import get_logger
from node.cri.runtime import Runtime, RuntimeFault
from protos.cri.runtime.v1 import api_pb2 as pb

_log = get_logger(__name__)
MAX_BYTES: Final = 10 * 1024 * 1024
MAX_FILES: Final = 5
_INTERVAL_SECONDS: Final = 10.0


class LogRotation:
    """Rotates the logs below one folder, whose layout is ``POD/CONTAINER/N.log``."""

    def __init__(self, runtime: Runtime, folder: str) -> None:
        self._runtime, self._folder = runtime, folder

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            try:
                large = await asyncio.to_thread(_large_files, self._folder)
                if large:
                    await self._rotate(large)
            except (RuntimeFault, OSError) as error:
                _log.warning("Log rotation failed, trying again", error=str(error))

    async def _rotate(self, large: set[str]) -> None:
        for container in await self._runtime.list_containers({}):
            if container.state != pb.CONTAINER_RUNNING:
                continue
            path = (await self._runtime.container_status(container.id)).log_path
            if path in large:
                await asyncio.to_thread(_move_aside, path)
                await self._runtime.reopen_container_log(container.id)


def _large_files(folder: str) -> set[str]:
    found = set()
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            if name.endswith(".log") and os.path.getsize(path) > MAX_BYTES:
                found.add(path)
    return found


def _move_aside(path: str) -> None:
    os.rename(path, f"{path}.{time.strftime('%Y%m%d-%H%M%S')}")
    folder, name = os.path.split(path)
    rotated = sorted(n for n in os.listdir(folder) if n.startswith(f"{name}."))
    for old in rotated[: -(MAX_FILES - 1)]:
        os.unlink(os.path.join(folder, old))
