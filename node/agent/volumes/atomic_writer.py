"""Writes a folder of files so that a reader sees the old set or the new, never a mixture.

Files live in a timestamped folder; ``..data`` is a symlink to it that is swapped by rename; each visible name is a
symlink into ``..data``. Source: ``pkg/volume/util/atomic_writer.go``, whose layout programs rely on.
"""

import contextlib
import os
import secrets
import shutil
import time

from node.agent.volumes.volume import File, Payload

_DATA = "..data"


def write(folder: str, payload: Payload, fs_group: int | None = None) -> bool:
    """Make ``folder`` hold exactly the payload (relative path -> file). Returns whether anything changed."""
    os.makedirs(folder, exist_ok=True)
    os.chmod(folder, 0o777 if fs_group is None else 0o2777)
    if fs_group is not None:
        os.chown(folder, -1, fs_group)
    current = os.path.join(folder, _DATA)
    old = os.readlink(current) if os.path.islink(current) else ""
    if old and _holds(os.path.join(folder, old), payload):
        _link_names(folder, payload)
        return False
    fresh = f"..{time.strftime('%Y_%m_%d_%H_%M_%S')}.{secrets.token_hex(5)}"
    _write_all(os.path.join(folder, fresh), payload, fs_group)
    swap = os.path.join(folder, "..data_tmp")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(swap)
    os.symlink(fresh, swap)
    os.rename(swap, current)
    _link_names(folder, payload)
    if old:
        shutil.rmtree(os.path.join(folder, old), ignore_errors=True)
    return True


def _holds(folder: str, payload: Payload) -> bool:
    found: set[str] = set()
    for base, _, names in os.walk(folder):
        found |= {os.path.relpath(os.path.join(base, name), folder) for name in names}
    return found == set(payload) and all(_same(os.path.join(folder, path), file) for path, file in payload.items())


def _same(path: str, file: File) -> bool:
    with open(path, "rb") as stream:
        return stream.read() == file.content


def _write_all(folder: str, payload: Payload, fs_group: int | None) -> None:
    _make_folder(folder, fs_group)
    for path, file in payload.items():
        target = os.path.join(folder, path)
        parent = os.path.dirname(target)
        if not os.path.isdir(parent):
            _make_parents(folder, os.path.dirname(path), fs_group)
        with open(target, "wb") as stream:
            stream.write(file.content)
        os.chmod(target, file.mode if fs_group is None else file.mode | 0o440)
        if file.owner is not None or fs_group is not None:
            os.chown(target, -1 if file.owner is None else file.owner, -1 if fs_group is None else fs_group)


def _make_parents(folder: str, relative: str, fs_group: int | None) -> None:
    for part in relative.split("/"):
        folder = os.path.join(folder, part)
        if not os.path.isdir(folder):
            _make_folder(folder, fs_group)


def _make_folder(folder: str, fs_group: int | None) -> None:
    os.mkdir(folder)
    os.chmod(folder, 0o755 if fs_group is None else 0o2755)
    if fs_group is not None:
        os.chown(folder, -1, fs_group)


def _link_names(folder: str, payload: Payload) -> None:
    """The visible names: those of the payload, each a link into ``..data``, and no others."""
    wanted = {path.split("/", 1)[0] for path in payload}
    for name in os.listdir(folder):
        if not name.startswith("..") and name not in wanted:
            os.unlink(os.path.join(folder, name))
    for name in wanted:
        if not os.path.islink(os.path.join(folder, name)):
            os.symlink(os.path.join(_DATA, name), os.path.join(folder, name))
