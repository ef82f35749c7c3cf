"""The netlink protocol (netlink(7)): attributes, and a socket that asks and is answered."""

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

REQUEST, ACK, DUMP, REPLACE, EXCL, CREATE = 0x1, 0x4, 0x300, 0x100, 0x200, 0x400
ROUTE, NETFILTER = 0, 12
"""Families of ``Socket``."""
_ERROR, _DONE = 2, 3
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_NESTED = 0x8000
_CLONE_NEWNET = 0x40000000
_HEADER, _U32 = struct.Struct("=IHHII"), struct.Struct("=I")


def enter(path: str) -> None:
    """Put the calling thread, and no other, into the network namespace at ``path``. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _set_namespace(descriptor, path)
    finally:
        os.close(descriptor)


def _set_namespace(descriptor: int, path: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


@contextmanager
def in_namespace(path: str) -> Iterator[None]:
    """Put the calling thread, and no other, into the network namespace at ``path`` for the length of the block."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(path)
        try:
            yield
        finally:
            _set_namespace(home, "the caller's own")
    finally:
        os.close(home)


def attribute(kind: int, value: bytes) -> bytes:
    length = len(value) + 4
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, _U32.pack(value))


def name(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def mac(kind: int, value: str) -> bytes:
    return attribute(kind, bytes.fromhex(value.replace(":", "")))


def ip(kind: int, value: str) -> bytes:
    return attribute(kind, socket.inet_aton(value))


def nest(kind: int, *attributes_: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(attributes_))


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in ``data``, nested ones still encoded."""
    found, offset = {}, 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def number(found: dict[int, bytes], kind: int) -> int:
    value = found.get(kind)
    return int(_U32.unpack(value)[0]) if value else 0


class Socket:
    """A netlink socket of the namespace at ``netns`` ("": the caller's own), with the multicast ``groups`` (mask)."""

    def __init__(self, family: int, netns: str = "", groups: int = 0) -> None:
        if netns:
            with in_namespace(netns):
                self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        else:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._socket.bind((0, groups))
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Throw away queued notifications (a socket opened with ``groups`` only says *that* something changed)."""
        with suppress(BlockingIOError, OSError):  # ENOBUFS too means "something changed"
            while self._socket.recv(1 << 16, socket.MSG_DONTWAIT):
                pass

    def exchange(self, kind: int, flags: int, body: bytes, *, answers: int = 0) -> list[bytes]:
        """Send one request; return the bodies of its answer (all up to DONE or the ACK, or the first ``answers``).

        Raises OSError with the kernel's errno and, where it gives one, its explanation.
        """
        self._sequence += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body)
        bodies: list[bytes] = []
        while True:
            for message, sequence, payload in _messages(self._socket.recv(1 << 20)):
                if sequence != self._sequence:
                    continue  # left over from a request that failed half-way
                if message == _ERROR:
                    _raise_error(payload)
                    return bodies
                if message == _DONE:
                    return bodies
                bodies.append(payload)
                if len(bodies) == answers:
                    return bodies


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        yield kind, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _raise_error(payload: bytes) -> None:
    errno_ = -struct.unpack_from("=i", payload)[0]
    if errno_ == 0:
        return
    text = attributes(payload[4 + _HEADER.size :]).get(1, b"").rstrip(b"\0").decode()
    raise OSError(errno_, f"{os.strerror(errno_)} ({text})" if text else os.strerror(errno_))
