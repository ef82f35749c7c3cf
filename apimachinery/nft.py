"""nftables by way of nft(8): a script is one transaction, and word of changes that others make."""

import socket
import struct
import subprocess
from collections.abc import Sequence
from contextlib import suppress

_TIMEOUT_SECONDS = 30.0
_NETLINK_NETFILTER, _NFTABLES_GROUP = 12, 1 << 6
_NEW_GENERATION, _PROCESS_ID = 0x0A0F, 2  # NFT_MSG_NEWGEN, NFTA_GEN_PROC_PID (linux/netfilter/nf_tables.h)


class NftError(Exception):
    """nft's own words."""


class Nft:
    """Runs nft in the caller's network namespace; blocks for milliseconds, so call it from a thread.

    ``own`` has the process IDs of our recent runs: what ``Changes`` needs to tell others' changes from ours.
    """

    def __init__(self) -> None:
        self.own: set[int] = set()

    def apply(self, script: str) -> None:
        """All of ``script`` or nothing. Raises NftError."""
        self._run(("-f", "-"), script)

    def show(self, *arguments: str) -> str | None:
        """What ``nft ARGUMENTS`` prints; None when the object does not exist. Raises NftError."""
        try:
            return self._run(arguments, "")
        except NftError as error:
            if "No such file or directory" in str(error):
                return None
            raise

    def _run(self, arguments: Sequence[str], text: str) -> str:
        pipe = subprocess.PIPE
        try:
            with subprocess.Popen(["nft", *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
                self.own = {*list(self.own)[-64:], process.pid}
                return self._finish(process, text)
        except OSError as error:
            raise NftError(f"nft cannot be run: {error}") from error

    def _finish(self, process: "subprocess.Popen[str]", text: str) -> str:
        try:
            out, err = process.communicate(text, timeout=_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise NftError(f"nft took over {_TIMEOUT_SECONDS:.0f} s") from error
        if process.returncode != 0:
            raise NftError(err.strip() or f"nft failed with exit code {process.returncode}")
        return out


class Changes:
    """A socket that is readable when the namespace's ruleset has changed."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.bind((0, _NFTABLES_GROUP))
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def by_others(self, own: set[int]) -> bool:
        """Read all that waits: whether a process not in ``own`` changed anything. True also when word was lost."""
        others = False
        with suppress(BlockingIOError):
            while True:
                try:
                    data = self._socket.recv(1 << 16)
                except BlockingIOError:
                    raise
                except OSError:  # ENOBUFS: more changes than the buffer holds
                    others = True
                    continue
                others = others or any(process not in own for process in _authors(data))
        return others


def _authors(data: bytes) -> list[int]:
    """The processes that committed the transactions announced in ``data``."""
    found, offset = [], 0
    while offset + 20 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < 20:
            break
        if kind == _NEW_GENERATION:
            found.append(_process_id(data[offset + 20 : offset + length]))
        offset += (length + 3) & ~3
    return found


def _process_id(attributes: bytes) -> int:
    offset = 0
    while offset + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, offset)
        if kind & 0x3FFF == _PROCESS_ID:
            return int(struct.unpack_from(">I", attributes, offset + 4)[0])
        offset += (max(length, 4) + 3) & ~3
    return 0
