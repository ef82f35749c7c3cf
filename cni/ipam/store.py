"""The allocations of one range on disk: a lock file, a file a taken address, and the last address given."""

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path
from typing import NamedTuple

from cni.ipam.allocator import next_free

_SEPARATOR = ","  # occurs in no address, container ID (CNI spec 1.1, section 2) or interface name we accept


class Owner(NamedTuple):
    container_id: str
    ifname: str


class Store:
    """Allocations under ``directory``; processes and threads may use the same one at once (flock)."""

    def __init__(self, directory: Path, network: IPv4Network) -> None:
        self._directory, self._network = directory, network
        directory.mkdir(parents=True, exist_ok=True)

    def allocate(self, owner: Owner) -> IPv4Address:
        """The owner's address, taken now if it has none. Raises RangeFull, OSError."""
        with self._locked():
            allocations = dict(self._read())
            for address, holder in allocations.items():
                if holder == owner and address in self._network:
                    return address
            address = next_free(self._network, allocations.keys(), self._last())
            self._file(address, owner).touch(exist_ok=False)
            self._remember(address)
            return address

    def lookup(self, owner: Owner) -> IPv4Address | None:
        return next((address for address, holder in self._read() if holder == owner), None)

    def release(self, owner: Owner) -> None:
        """Free the owner's address; having none is no error."""
        with self._locked():
            self._free(holder for _, holder in self._read() if holder == owner)

    def collect(self, valid: Collection[Owner]) -> None:
        """Free the addresses of all owners but the ``valid`` ones."""
        with self._locked():
            self._free(holder for _, holder in self._read() if holder not in valid)

    def all(self) -> dict[IPv4Address, Owner]:
        return dict(self._read())

    def _free(self, owners: Iterator[Owner]) -> None:
        gone = set(owners)
        for address, holder in self._read():
            if holder in gone:
                self._file(address, holder).unlink(missing_ok=True)

    def _read(self) -> list[tuple[IPv4Address, Owner]]:
        found = []
        for name in os.listdir(self._directory):
            parts = name.split(_SEPARATOR)
            if len(parts) == 3:
                with suppress(AddressValueError):  # not a file of ours
                    found.append((IPv4Address(parts[0]), Owner(parts[1], parts[2])))
        return found

    def _file(self, address: IPv4Address, owner: Owner) -> Path:
        return self._directory / _SEPARATOR.join((str(address), owner.container_id, owner.ifname))

    def _last(self) -> IPv4Address | None:
        try:
            return IPv4Address((self._directory / "last").read_text())
        except (FileNotFoundError, AddressValueError):  # only a hint: torn or absent, the search starts at the front
            return None

    def _remember(self, address: IPv4Address) -> None:
        (self._directory / "last").write_text(str(address))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self._directory / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
