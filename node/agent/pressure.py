"""When a node is short of something: thresholds on what is still available. Pure.

The flag and its signals are upstream's: ``--eviction-hard memory.available<100Mi,nodefs.available<10%``. imagefs is not
told apart from nodefs, and soft thresholds are not offered. Source: kubelet ``eviction/api``, ``eviction/helpers.go``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from apimachinery import quantity
from apimachinery.config import ConfigError
from node.agent.host import Load, Machine

MEMORY, DISK, PIDS = "MemoryPressure", "DiskPressure", "PIDPressure"
_SIGNALS: Final[Mapping[str, tuple[str, str]]] = {  # the node's condition, and what a pod is said to use of
    "memory.available": (MEMORY, "memory"),
    "nodefs.available": (DISK, "ephemeral-storage"),
    "nodefs.inodesFree": (DISK, "inodes"),
    "pid.available": (PIDS, "pids"),
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """``amount`` in bytes or pieces, or ``fraction`` of all there is. ``text`` is as it was given."""

    signal: str
    text: str
    amount: Decimal | None
    fraction: Decimal | None

    @property
    def condition(self) -> str:
        return _SIGNALS[self.signal][0]

    @property
    def resource(self) -> str:
        return _SIGNALS[self.signal][1]

    def crossed(self, available: int, capacity: int) -> bool:
        least = self.amount if self.amount is not None else (self.fraction or 0) * capacity
        return capacity > 0 and available < least


@dataclass(frozen=True, slots=True)
class Shortage:
    """A threshold that is crossed; ``available`` in its signal's unit."""

    threshold: Threshold
    available: int


def parse(text: str) -> tuple[Threshold, ...]:
    """Raises ConfigError."""
    return tuple(_threshold(part.strip()) for part in text.split(",") if part.strip())


def _threshold(text: str) -> Threshold:
    signal, sign, value = text.partition("<")
    if not sign or signal not in _SIGNALS:
        raise ConfigError(f"--eviction-hard: {text!r} is not SIGNAL<VALUE with one of {', '.join(_SIGNALS)}")
    try:
        if value.endswith("%"):
            return Threshold(signal, value, None, Decimal(value[:-1]) / 100)
        return Threshold(signal, value, quantity.parse(value), None)
    except (ArithmeticError, ValueError) as error:
        raise ConfigError(f"--eviction-hard: {value!r} is neither an amount nor a percentage") from error


def shortages(thresholds: tuple[Threshold, ...], load: Load, machine: Machine) -> list[Shortage]:
    """What is short now, memory first."""
    have = {
        "memory.available": (load.memory_available, machine.memory),
        "nodefs.available": (load.disk_free, load.disk_total),
        "nodefs.inodesFree": (load.inodes_free, load.inodes_total),
        "pid.available": (load.pids_free, load.pids_total),
    }
    found = [Shortage(t, have[t.signal][0]) for t in thresholds if t.crossed(*have[t.signal])]
    return sorted(found, key=lambda s: list(_SIGNALS).index(s.threshold.signal))
