"""What the kernel says of processes that it killed for want of memory.

The engine is told of that by a notification that is only set up after a container has started: a container that runs
out of memory at once, or on a busy machine, has died before anybody listened. The kernel's log has it all the same,
before the process is killed.

Source: Linux ``mm/oom_kill.c`` (``dump_oom_victim``, ten in five seconds at most) and
``Documentation/ABI/testing/dev-kmsg``.
"""

import errno
import os
import re

from apimachinery.logging import get_logger

PATH = "/dev/kmsg"
_RECORD_BYTES, _REMEMBERED = 8192, 1000
_VICTIM = re.compile(rb"oom-kill:.*\btask_memcg=[^,]*?([0-9a-f]{64})")
log = get_logger(__name__)


class KernelLog:
    """Read from where it ends now, and only when asked. Without the right to read it nothing is known."""

    def __init__(self, path: str = PATH) -> None:
        self._killed: dict[str, None] = {}
        self._file = -1
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._file, 0, os.SEEK_END)
        except OSError as error:
            log.info("Kernel log cannot be read", path=path, reason=error.strerror)

    def killed(self, container_id: str) -> bool:
        """Whether a process of that container was killed for want of memory since this was made."""
        if self._file >= 0:
            self._read()
        return container_id in self._killed

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _read(self) -> None:
        while True:
            try:
                record = os.read(self._file, _RECORD_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.EPIPE:  # records that we had not read were overwritten
                    continue
                log.warning("Kernel log cannot be read", reason=error.strerror)
                self.close()
                return
            if not record:
                return
            if found := _VICTIM.search(record):
                self._killed[found[1].decode()] = None
                if len(self._killed) > _REMEMBERED:
                    del self._killed[next(iter(self._killed))]
