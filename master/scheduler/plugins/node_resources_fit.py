"""NodeResourcesFit: a node must have what a pod requests; the emptier of two nodes is the better (LeastAllocated)."""

from typing import ClassVar

import numpy as np

from master.scheduler.framework import MAX_SCORE, Codes, Event, FilterPlugin, Refusal, Rows, Scope, ScorePlugin, Scores
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Ints, Snapshot

_FREES = frozenset({Event.NODE_ADDED, Event.NODE_ALLOCATABLE, Event.POD_REMOVED})


def column(table: dict[str, Ints], name: str, snapshot: Snapshot, rows: Rows) -> Ints:
    found = table.get(name)
    return np.zeros(snapshot.capacity, np.int64)[rows] if found is None else found[rows]


def least_allocated(used: Ints, capacity: Ints) -> Scores:
    """The free share of each node in percent; 0 where it is over-committed or has none."""
    safe = np.maximum(capacity, 1)
    return np.where(used > capacity, 0, (capacity - used) * MAX_SCORE // safe)


class NodeResourcesFit(FilterPlugin, ScorePlugin):
    name = "NodeResourcesFit"
    scope = Scope.USE
    wakes: ClassVar[frozenset[Event]] = _FREES

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        """The code is a bit mask: bit 0 = pods, bit i = the i-th requested resource is short."""
        allowed = column(snapshot.allocatable, "pods", snapshot, rows)
        codes = (snapshot.requested["pods"][rows] >= allowed).astype(np.int64)
        for bit, (name, amount) in enumerate(shape.requests.items(), 1):
            free = column(snapshot.allocatable, name, snapshot, rows) - column(snapshot.requested, name, snapshot, rows)
            codes |= (free < amount).astype(np.int64) << bit
        return codes

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        return tuple("Too many pods" if name == "pods" else f"Insufficient {name}" for name in _short(shape, code))

    def resolvable(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> bool:
        """Not if even the empty node is too small."""
        return all(self._want(shape, name) <= _of(snapshot.allocatable, name, row) for name in _short(shape, code))

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        details, remedies = [], []
        for name in _short(shape, code):
            want, total = self._want(shape, name), _of(snapshot.allocatable, name, row)
            free = total - _of(snapshot.requested, name, row)
            details.append(f"{name}: requested {_text(name, want)}, free {_text(name, free)} of {_text(name, total)}")
            freeing = f"free {_text(name, want - free)} {name} on the node"
            asking = f"request at most {_text(name, free)} {name}"
            remedies.append(freeing if name == "pods" else asking if want > total else f"{asking}, or {freeing}")
        return Refusal(self.reasons(shape, snapshot, row, code), "; ".join(details), "; ".join(remedies))

    def score(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Scores:
        cpu, memory = shape.scored
        by_cpu = least_allocated(snapshot.scored_cpu[rows] + cpu, column(snapshot.allocatable, "cpu", snapshot, rows))
        capacity = column(snapshot.allocatable, "memory", snapshot, rows)
        return (by_cpu + least_allocated(snapshot.scored_memory[rows] + memory, capacity)) // 2

    def _want(self, shape: PodShape, name: str) -> int:
        return 1 if name == "pods" else shape.requests[name]


def _short(shape: PodShape, code: int) -> list[str]:
    return [name for bit, name in enumerate(("pods", *shape.requests)) if code >> bit & 1]


def _of(table: dict[str, Ints], name: str, row: int) -> int:
    return int(table[name][row]) if name in table else 0


def _text(name: str, amount: int) -> str:
    if name == "cpu":
        return f"{amount / 1000:g}"
    return f"{amount / 1024**2:.0f}Mi" if name in ("memory", "ephemeral-storage") and amount >= 2**20 else str(amount)
