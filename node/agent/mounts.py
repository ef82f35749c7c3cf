"""mount(2) and umount2(2), and what is mounted."""

import ctypes
import os
from typing import Final

MS_BIND: Final = 4096
MS_REC: Final = 16384
MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8

_libc: Final = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount_tmpfs(target: str, size: int = 0) -> None:
    """A tmpfs of at most ``size`` bytes (0: half of memory), open to all users."""
    options = f"mode=0777,size={size}" if size else "mode=0777"
    _check(_libc.mount(b"tmpfs", target.encode(), b"tmpfs", 0, options.encode()), f"mounting tmpfs at {target}")


def bind(source: str, target: str) -> None:
    result = _libc.mount(source.encode(), target.encode(), b"", MS_BIND | MS_REC, None)
    _check(result, f"binding {source} at {target}")


def unmount(target: str) -> None:
    _check(_libc.umount2(target.encode(), MNT_DETACH | UMOUNT_NOFOLLOW), f"unmounting {target}")


def mounted_below(folder: str) -> list[str]:
    """Mount points in a folder, innermost first."""
    prefix = os.path.realpath(folder) + "/"
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4].encode().decode("unicode_escape") for line in file]
    return sorted((p for p in points if p.startswith(prefix)), key=len, reverse=True)
