"""The kernel's file notifications as asyncio callbacks: being woken costs nothing, polling does.

See inotify(7). One descriptor serves all watches; callbacks run in the event loop.
"""

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable

IN_MODIFY, IN_MOVED_TO, IN_CREATE = 0x2, 0x80, 0x100
_IN_IGNORED = 0x8000
_EVENT = struct.Struct("iIII")


class Inotify:
    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _os_error("inotify")
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._wake)

    def watch(self, path: str, mask: int, callback: Callable[[], None]) -> int:
        """Call ``callback`` when something of ``mask`` happens at ``path``; returns the watch. OSError if not there."""
        watch: int = self._libc.inotify_add_watch(self._fd, os.fsencode(path), mask)
        if watch < 0:
            raise _os_error(path)
        self._callbacks[watch] = callback
        return watch

    def unwatch(self, watch: int) -> None:
        """Harmless where the kernel has ended the watch already, because the path is gone."""
        if self._callbacks.pop(watch, None):
            self._libc.inotify_rm_watch(self._fd, watch)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _wake(self) -> None:
        data, position = os.read(self._fd, 1 << 16), 0
        woken: set[int] = set()
        while position < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, position)
            position += _EVENT.size + length
            if mask & _IN_IGNORED:
                self._callbacks.pop(watch, None)
            else:
                woken.add(watch)
        for watch in woken:
            if callback := self._callbacks.get(watch):
                callback()


def _os_error(path: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)
