"""nftables by way of nft(8): a script is one transaction; and word of every change in the namespace."""

import socket
import struct
import subprocess

_TIMEOUT_SECONDS = 30.0
_NETLINK_NETFILTER, _NFTABLES_GROUP, _NFTABLES_SUBSYSTEM = 12, 1 << 6, 10
_RECEIVE_BYTES = 1 << 22
_NEW_GENERATION = 15
_TABLE_ATTRIBUTE = 1  # in messages about tables, chains, rules, sets and elements alike


class NftError(Exception):
    """nft's own words."""


def apply(script: str) -> None:
    """Do all of ``script`` or nothing, in the caller's network namespace. Blocks for milliseconds. Raises NftError."""
    _run(["-f", "-"], script)


def show(*arguments: str) -> str | None:
    """What ``nft ARGUMENTS`` prints; None when the object does not exist. Raises NftError."""
    try:
        return _run(list(arguments), "")
    except NftError as error:
        if "No such file or directory" in str(error):
            return None
        raise


def _run(arguments: list[str], text: str) -> str:
    command = ["nft", *arguments]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NftError(f"nft cannot be run: {error}") from error
    if done.returncode != 0:
        raise NftError(done.stderr.strip() or f"nft failed with exit code {done.returncode}")
    return done.stdout


class Changes:
    """A socket that is readable when the namespace's ruleset has changed, by whomever.

    The kernel puts word of a transaction here before the nft that made it ends: who calls ``tables`` right after
    ``apply`` takes its own changes out, and what comes later is others'.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        self._socket.bind((0, _NFTABLES_GROUP))
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def tables(self) -> set[str]:
        """The tables changed since the last call; "*" among them when word was lost."""
        found: set[str] = set()
        while True:
            try:
                found |= _tables(self._socket.recv(1 << 16))
            except BlockingIOError:
                return found
            except OSError:  # ENOBUFS: more changes than the buffer holds
                found.add("*")


def _tables(data: bytes) -> set[str]:
    found, offset = set(), 0
    while offset + 24 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < 16:
            break
        size, attribute = struct.unpack_from("=HH", data, offset + 20)
        about_table = kind >> 8 == _NFTABLES_SUBSYSTEM and kind & 0xFF != _NEW_GENERATION
        if about_table and attribute & 0x3FFF == _TABLE_ATTRIBUTE:
            found.add(data[offset + 24 : offset + 20 + size].rstrip(b"\0").decode(errors="replace"))
        offset += (length + 3) & ~3
    return found
