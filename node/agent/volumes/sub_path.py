"""``subPath``: one file or folder of a volume, which the volume's content cannot lead out of the volume.

A container that shares the volume may swap a folder for a symlink at any moment. So the path is walked from the
volume's root without following links, and what was found is bound by its file descriptor, not by its name.
Source: ``pkg/volume/util/subpath/subpath_linux.go``.
"""

import os
import stat

from node.agent import mounts
from node.agent.volumes.volume import VolumeError


def bind(volume: str, sub_path: str, target: str) -> str:
    """Bind ``volume/sub_path`` at ``target``, which is returned. A missing path becomes a folder."""
    if os.path.ismount(target):
        mounts.unmount(target)
    if os.path.isfile(volume):
        raise VolumeError(f"subPath {sub_path}: the volume is a file")
    descriptor = open_inside(os.path.realpath(volume), sub_path)
    try:
        _make_target(target, stat.S_ISDIR(os.fstat(descriptor).st_mode))
        mounts.bind(f"/proc/self/fd/{descriptor}", target)
    finally:
        os.close(descriptor)
    return target


def open_inside(volume: str, sub_path: str) -> int:
    """An O_PATH descriptor of the path; its links are resolved first, and must end inside.

    Raises VolumeError and OSError.
    """
    if os.path.isabs(sub_path) or ".." in sub_path.split("/"):
        raise VolumeError(f"subPath {sub_path} must be relative and must not contain '..'")
    real = os.path.realpath(os.path.join(volume, sub_path))
    if real != volume and not real.startswith(volume.rstrip("/") + "/"):
        raise VolumeError(f"subPath {sub_path} leads out of its volume")
    descriptor = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    for part in [p for p in os.path.relpath(real, volume).split("/") if p != "."]:
        following = _step(descriptor, part, sub_path, mode)
        os.close(descriptor)
        descriptor = following
    return descriptor


def _step(folder: int, name: str, sub_path: str, mode: int) -> int:
    """Open one part of the path; a missing one is made with the mode of its volume."""
    try:
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        os.mkdir(name, dir_fd=folder)
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        os.chmod(f"/proc/self/fd/{found}", mode)
    if stat.S_ISLNK(os.fstat(found).st_mode):
        os.close(found)
        raise VolumeError(f"subPath {sub_path} changed into a link while it was opened")
    return found


def _make_target(target: str, folder: bool) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if folder:
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o640))
