"""How long a container that ended waits before it runs again: 10 s, doubled up to 5 minutes.

Counted from the moment the container ended; forgotten when it has run twice the longest delay.
Source: kubelet ``doBackOff`` and client-go ``util/flowcontrol/backoff.go``.
"""

from dataclasses import dataclass, field
from typing import Final

INITIAL_SECONDS: Final = 10.0
LONGEST_SECONDS: Final = 300.0


@dataclass(slots=True)
class _Entry:
    delay: float
    updated: float


@dataclass(slots=True)
class RestartBackoff:
    """Delays by key (a container's name and hash). Times are seconds on one clock."""

    initial: float = INITIAL_SECONDS
    longest: float = LONGEST_SECONDS
    _entries: dict[str, _Entry] = field(default_factory=dict)

    def until(self, key: str, ended: float) -> float:
        """When the container that ended at ``ended`` may run again; ``ended`` itself when it need not wait."""
        entry = self._current(key, ended)
        return ended + (entry.delay if entry else 0.0)

    def delay(self, key: str) -> float:
        entry = self._entries.get(key)
        return entry.delay if entry else 0.0

    def record(self, key: str, ended: float, now: float) -> None:
        """The container runs again now: the next delay is twice this one."""
        entry = self._current(key, ended)
        delay = min(entry.delay * 2, self.longest) if entry else self.initial
        self._entries[key] = _Entry(delay, now)

    def _current(self, key: str, ended: float) -> _Entry | None:
        entry = self._entries.get(key)
        if entry and ended - entry.updated > 2 * self.longest:
            return None
        return entry
