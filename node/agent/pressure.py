"""When a node is short of something: thresholds on what is still available. Pure.

The flags and their signals are upstream's: ``--eviction-hard memory.available<100Mi,nodefs.available<10%``, and so on.
A soft threshold counts when it has been crossed for its grace period. One that has counted does so until the least
amount
to reclaim is free above it. Source: kubelet ``eviction/api``, ``eviction/helpers.go``.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from apimachinery import quantity
from apimachinery.config import ConfigError
from apimachinery.flags import duration

MEMORY, DISK, PIDS = "MemoryPressure", "DiskPressure", "PIDPressure"
_SIGNALS: Final[Mapping[str, tuple[str, str]]] = {  # the node's condition, and what a pod is said to use of
    "memory.available": (MEMORY, "memory"),
    "imagefs.available": (DISK, "ephemeral-storage"),
    "imagefs.inodesFree": (DISK, "inodes"),
    "nodefs.available": (DISK, "ephemeral-storage"),
    "nodefs.inodesFree": (DISK, "inodes"),
    "pid.available": (PIDS, "pids"),
}


@dataclass(frozen=True, slots=True)
class Amount:
    """In bytes or pieces, or as a fraction of all there is."""

    whole: Decimal = Decimal(0)
    fraction: Decimal = Decimal(0)

    def of(self, capacity: int) -> int:
        return int(self.whole + self.fraction * capacity)


@dataclass(frozen=True, slots=True)
class Threshold:
    """``grace`` is in seconds, 0 of a hard one; ``reclaim`` is how much more must be free before it is content."""

    signal: str
    least: Amount
    grace: float = 0.0
    reclaim: Amount = Amount()

    @property
    def condition(self) -> str:
        return _SIGNALS[self.signal][0]

    @property
    def resource(self) -> str:
        return _SIGNALS[self.signal][1]

    def crossed(self, seen: "Seen", reclaiming: bool = False) -> bool:
        more = self.reclaim.of(seen.capacity) if reclaiming else 0
        return seen.capacity > 0 and seen.available < self.least.of(seen.capacity) + more


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is of a signal now, in its unit."""

    available: int
    capacity: int


def parse(hard: str, soft: str = "", soft_grace: str = "", reclaim: str = "") -> tuple[Threshold, ...]:
    """The thresholds of the four flags. Raises ConfigError."""
    graces = {signal: _duration(text) for signal, text in _pairs("--eviction-soft-grace-period", soft_grace, "=")}
    least = {s: _amount("--eviction-minimum-reclaim", t) for s, t in _pairs("--eviction-minimum-reclaim", reclaim, "=")}
    out = [Threshold(s, _amount("--eviction-hard", t)) for s, t in _pairs("--eviction-hard", hard, "<")]
    for signal, text in _pairs("--eviction-soft", soft, "<"):
        if signal not in graces:
            raise ConfigError(f"grace period must be specified for the soft eviction threshold {signal}")
        out.append(Threshold(signal, _amount("--eviction-soft", text), graces[signal]))
    return tuple(replace(t, reclaim=least.get(t.signal, t.reclaim)) for t in out)


def _pairs(flag: str, text: str, sign: str) -> list[tuple[str, str]]:
    found = [part.strip().partition(sign) for part in text.split(",") if part.strip()]
    for signal, given, value in found:
        if not given or signal not in _SIGNALS:
            about = f"{signal + given + value!r} is not SIGNAL{sign}VALUE with one of {', '.join(_SIGNALS)}"
            raise ConfigError(f"{flag}: {about}")
    return [(signal, value) for signal, _, value in found]


def _amount(flag: str, text: str) -> Amount:
    try:
        if text.endswith("%"):
            return Amount(fraction=Decimal(text[:-1]) / 100)
        return Amount(quantity.parse(text))
    except (ArithmeticError, ValueError) as error:
        raise ConfigError(f"{flag}: {text!r} is neither an amount nor a percentage") from error


def _duration(text: str) -> float:
    try:
        seconds = duration(text)
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"--eviction-soft-grace-period: {error}") from error
    if not seconds:
        raise ConfigError("--eviction-soft-grace-period: 0 would make the threshold a hard one")
    return seconds


@dataclass(slots=True)
class Pressure:
    """What thresholds have been crossed, and since when. Times are seconds on one clock.

    A condition stays for ``transition`` seconds after the shortage has ended, or the scheduler would send the next pod
    into the next shortage.
    """

    thresholds: tuple[Threshold, ...]
    transition: float
    met: list[Threshold] = field(default_factory=list)
    _since: dict[Threshold, float] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)

    def look(self, seen: Mapping[str, Seen], now: float) -> frozenset[str]:
        """Take in what is there now: the conditions that are true. ``met`` is then what to act on, in order."""
        crossed = [t for t in self.thresholds if t.crossed(seen[t.signal], reclaiming=t in self.met)]
        self._since = {t: self._since.get(t, now) for t in crossed}
        self._last |= {t.condition: now for t in crossed}
        self._last = {c: at for c, at in self._last.items() if at == now or now - at < self.transition}
        met = [t for t in crossed if now - self._since[t] >= t.grace]
        self.met = sorted(met, key=lambda t: list(_SIGNALS).index(t.signal))
        return frozenset(self._last)

    def content(self, seen: Mapping[str, Seen]) -> bool:
        """Whether no threshold is crossed any more, with what is to be reclaimed beyond them."""
        return not any(t.crossed(seen[t.signal], reclaiming=True) for t in self.thresholds)
