"""``hostPath`` volumes: a path of the node, checked or made as its ``type`` says.

Source: ``pkg/volume/hostpath/host_path.go``.
"""

import asyncio
import os
import stat
from collections.abc import Callable, Mapping
from typing import Final

from node.agent.pod_state import Object
from node.agent.volumes.volume import VolumeContext, VolumeError

_CHECKS: Final[Mapping[str, tuple[Callable[[int], bool], str]]] = {
    "Directory": (stat.S_ISDIR, "is not a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "is not a directory"),
    "File": (stat.S_ISREG, "is not a file"),
    "FileOrCreate": (stat.S_ISREG, "is not a file"),
    "Socket": (stat.S_ISSOCK, "is not a socket"),
    "CharDevice": (stat.S_ISCHR, "is not a character device"),
    "BlockDevice": (stat.S_ISBLK, "is not a block device"),
}


async def prepare(volume: Object, context: VolumeContext) -> str:
    source = volume["hostPath"]
    try:
        await asyncio.to_thread(_ensure, source["path"], source.get("type") or "")
    except OSError as error:
        raise VolumeError(f"hostPath type check failed: {error}") from error
    return str(source["path"])


def _ensure(path: str, kind: str) -> None:
    if not kind:
        return
    if kind not in _CHECKS:
        raise VolumeError(f"hostPath type {kind} is not supported")
    if not os.path.exists(path) and kind == "DirectoryOrCreate":
        os.makedirs(path, mode=0o755)
    elif not os.path.exists(path) and kind == "FileOrCreate":
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    check, message = _CHECKS[kind]
    if not os.path.exists(path) or not check(os.stat(path).st_mode):
        raise VolumeError(f"hostPath type check failed: {path} {message}")
