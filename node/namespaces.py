"""Work done inside another process's namespace: in a thread of its own, which alone enters it and ends there."""

import asyncio
import ctypes
import os
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")
NETWORK, MOUNT, CGROUP = 0x40000000, 0x00020000, 0x02000000
"""CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWCGROUP of clone(2)."""
_CLONE_FS = 0x00000200


async def enter(path: str, kind: int, work: Callable[[], T]) -> T:
    """``work()`` in the namespace at ``path``, such as ``/proc/PID/ns/net``. OSError when it is gone or forbidden."""
    return await asyncio.wrap_future(_start(path, kind, work))


def visit(path: str, kind: int, work: Callable[[], T]) -> T:
    """As ``enter``, waiting for it: for work of microseconds."""
    return _start(path, kind, work).result()


def _start(path: str, kind: int, work: Callable[[], T]) -> "Future[T]":
    done: Future[T] = Future()

    def run() -> None:
        try:
            _set(path, kind)
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, name="namespace", daemon=True).start()
    return done


def _set(path: str, kind: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, "rb") as handle:
        # Threads share one root folder; a mount namespace is entered only by who has its own (setns(2)).
        failed = kind == MOUNT and libc.unshare(_CLONE_FS)
        if failed or libc.setns(handle.fileno(), kind):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
