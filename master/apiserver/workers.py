"""``--workers N``: N API servers in N processes on one port, kept alive by the first process.

That one binds the port, forks, and starts a worker again that ends. All accept from one socket, so what waits to be
accepted is not lost with a worker; the inside gRPC ports are shared by SO_REUSEPORT. Each worker is an API server of
its own with its own watch cache: N workers need N times the memory, compute on N cores, and differ in their metrics.
"""

import contextlib
import ctypes
import gc
import os
import signal
import socket
import time
from collections.abc import Callable

from apimachinery.logging import get_logger

_log = get_logger(__name__)

RESTART = 1.0
"""Seconds between two starts of one worker at least."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_PR_SET_PDEATHSIG = 1

Work = Callable[[int], int]
"""What a worker of a number does; its exit code."""


class Workers:
    """``drain``: seconds that workers may take to end."""

    def __init__(self, count: int, work: Work, drain: float) -> None:
        self._count, self._work, self._drain = count, work, drain
        self._running: dict[int, tuple[int, float]] = {}

    def run(self) -> int:
        """Until a signal to end; the exit code."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        gc.freeze()  # what is there is shared with the workers as long as nobody touches it
        for number in range(self._count):
            self._start(number, before)
        while True:
            got = signal.sigtimedwait(_SIGNALS, 1.0)
            if got and got.si_signo != signal.SIGCHLD:
                return self._end(got.si_signo)
            for number in self._ended():
                self._start(number, before)

    def _start(self, number: int, mask: set[int | signal.Signals]) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._running[pid] = number, time.monotonic()
            return
        code = 1
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            if os.getppid() == parent:  # else it died before it could be watched
                code = self._work(number)
        finally:
            os._exit(code)

    def _ended(self) -> list[int]:
        """The numbers of workers that have ended, not sooner than they may be started again."""
        ended = []
        for pid, (number, since) in list(self._running.items()):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone:
                del self._running[pid]
                _log.error("Worker ended, starting it again", worker=number, status=os.waitstatus_to_exitcode(status))
                time.sleep(max(0.0, since + RESTART - time.monotonic()))
                ended.append(number)
        return ended

    def _end(self, number: int) -> int:
        _log.info("Stopping", signal=signal.Signals(number).name, workers=len(self._running))
        for pid in self._running:
            os.kill(pid, signal.SIGTERM)
        code, deadline = 0, time.monotonic() + self._drain
        while self._running and time.monotonic() < deadline:
            signal.sigtimedwait((signal.SIGCHLD,), 0.2)
            for pid in list(self._running):
                gone, status = os.waitpid(pid, os.WNOHANG)
                if gone:
                    del self._running[pid]
                    code = code or os.waitstatus_to_exitcode(status)
        for pid in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return code or int(bool(self._running))


def listen(address: str, port: int) -> socket.socket:
    """The socket that all workers accept from. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((address, port))
    listening.listen(2048)
    listening.setblocking(False)
    return listening
