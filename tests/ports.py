"""The one place where tests take ports from.

A port is given once in a process, and from a block that no other test process of the machine takes from: each block
is a locked file, and the kernel lets go of the lock when the process ends, however it ends. The blocks lie below the
ports that the kernel gives to outgoing connections: one of those could otherwise come between two lives of a server.
"""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_FIRST, _LAST, _SIZE = 10_000, 29_999, 80  # node ports begin at 30,000
_LOCKS = Path(tempfile.gettempdir()) / "kubeto-test-ports"
_held: list[IO[bytes]] = []


@dataclass(frozen=True)
class Block:
    """``number``, 0 to 249, is this process's alone as well: for names and networks."""

    number: int

    @property
    def ports(self) -> range:
        first = _FIRST + self.number * _SIZE
        return range(first, first + _SIZE)


def take_block() -> Block:
    """A block of which nobody listens on any port. Raises RuntimeError when all are taken."""
    blocks = [Block(number) for number in range((_LAST - _FIRST + 1) // _SIZE)]
    below = [block for block in blocks if block.ports[-1] < _first_outgoing()] or blocks
    start = os.getpid() % len(below)  # what has just been let go of comes last
    for block in below[start:] + below[:start]:
        if _lock(block.number) and all(map(_is_free, block.ports)):
            return block
    raise RuntimeError(f"all {len(below)} blocks of ports are taken; {_LOCKS} has their locks")


def free_port() -> int:
    return next(_free)


def _ports() -> Iterator[int]:
    while True:
        yield from filter(_is_free, take_block().ports)


_free = _ports()


def _lock(number: int) -> bool:
    """Keeps the block until the process ends, also where a stranger listens within it."""
    _LOCKS.mkdir(exist_ok=True)
    file = (_LOCKS / str(number)).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    _held.append(file)
    return True


def _is_free(port: int) -> bool:
    """Whether neither a listener nor a connection has it on any address, of IPv4 or IPv6."""
    both = socket.has_dualstack_ipv6()
    try:
        family = socket.AF_INET6 if both else socket.AF_INET
        socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
    except OSError:
        return False
    return True


def _first_outgoing() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
