"""Decides where pods go: the scheduling cycle without any input or output.

``decide`` is deterministic: from the snapshot and the pod's shape to a node or to a diagnosis. The caller places the
pod in the snapshot before it asks for the next one, so every pod sees those placed before it; all the work on a shape
that these placements did not touch is kept in its ``Cycle``.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from master.scheduler.cycle import Cycle
from master.scheduler.framework import FilterPlugin, Profile, unavailable
from master.scheduler.shape import Key, PodShape
from master.scheduler.snapshot import Placement, Snapshot

_CYCLES_KEPT = 256
_COUNTERS_KEPT = 4096
_UNKNOWN_LOAD = 0.5  # a node without a reading is neither sought nor shunned


@dataclass(frozen=True, slots=True)
class Decision:
    """``node`` for the pod; or "" with upstream's ``message`` and the ``plugins`` that refused it."""

    node: str = ""
    message: str = ""
    plugins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Nomination:
    """A node is being cleared for a pod: it counts there for pods of the same or lower priority."""

    node: str
    shape: PodShape


class Engine:
    """``nominations`` are the pods that wait for victims to leave, by key."""

    def __init__(self, snapshot: Snapshot, profile: Profile) -> None:
        self.snapshot, self.profile = snapshot, profile
        self.nominations: dict[Key, Nomination] = {}
        self._cycles: OrderedDict[PodShape, Cycle] = OrderedDict()

    def cycle(self, shape: PodShape) -> Cycle:
        """The up-to-date cycle of a shape."""
        cycle = self._cycles.get(shape)
        if cycle is None:
            cycle = self._cycles[shape] = Cycle(shape, self.profile, self.snapshot)
            self._trim()
        else:
            self._cycles.move_to_end(shape)
        cycle.refresh()
        return cycle

    def decide(self, key: Key, shape: PodShape) -> Decision:
        """The best node for a pod, or why there is none."""
        refusal = self._pre_filter(shape)
        if refusal is not None:
            return refusal
        cycle = self.cycle(shape)
        rows = cycle.feasible()
        rivals = self._rivals(key, shape) if self.nominations and rows.size else {}
        if rivals:  # the pod must fit both with and without them
            with self._arrived(rivals):
                cycle.refresh()
                rows = np.intersect1d(rows, cycle.feasible(), assume_unique=True)
                if not rows.size:
                    return self.diagnose(cycle)
            cycle.refresh()
        if not rows.size:
            return self.diagnose(cycle)
        own = self.nominations.get(key)
        if own and self.snapshot.rows.get(own.node, -1) in rows:
            return Decision(own.node)
        return Decision(self.snapshot.names[self._best(cycle, rows)])

    def diagnose(self, cycle: Cycle) -> Decision:
        """Why no node took the pod: the words and the plugins, from the codes of each node."""
        snap, reasons, plugins = self.snapshot, Counter[str](), set[str]()
        for plugin, code, rows in verdicts(cycle):
            for reason in plugin.reasons(cycle.shape, snap, int(rows[0]), code):
                reasons[reason] += len(rows)
            plugins.add(plugin.name)
        if not snap.node_count:
            return Decision(message="no nodes available to schedule pods")
        undecided = snap.node_count - sum(len(rows) for *_, rows in verdicts(cycle))
        if undecided:  # fit only if pods come that are nominated but not there yet
            reasons["node(s) were waiting for nominated pods"] += undecided
            plugins.add("InterPodAffinity")
        return Decision("", unavailable(snap.node_count, reasons), frozenset(plugins))

    def fits_somewhere(self, shape: PodShape, rows: Iterable[int]) -> bool:
        """Whether any of ``rows`` takes the shape now: the exact queueing hint."""
        if any(p.pre_filter(shape, self.snapshot) for p in self.profile.filters if p.relevant(shape, self.snapshot)):
            return False
        cycle = self.cycle(shape)
        return any(self.snapshot.valid[row] and not cycle.refused[row] for row in rows)

    @contextmanager
    def without(self, keys: list[Key]) -> Iterator[dict[Key, Placement]]:
        """As if the pods ``keys`` were not placed, until the end of the block."""
        taken = {key: placement for key in keys if (placement := self.snapshot.remove(key))}
        try:
            yield taken
        finally:
            for key, placement in taken.items():
                if key not in self.snapshot.placements:
                    self.snapshot.restore(key, placement)

    def _pre_filter(self, shape: PodShape) -> Decision | None:
        snap = self.snapshot
        for plugin in self.profile.filters:
            if plugin.relevant(shape, snap) and (message := plugin.pre_filter(shape, snap)):
                text = f"{unavailable(snap.node_count, {})} {message}."
                return Decision("", text, frozenset({plugin.name}))
        return None

    def _rivals(self, key: Key, shape: PodShape) -> dict[Key, Nomination]:
        """The pods that wait for a node to be cleared and count there for a pod of this priority."""
        return {
            other: nomination
            for other, nomination in self.nominations.items()
            if other != key
            and nomination.shape.priority >= shape.priority
            and other not in self.snapshot.placements
            and nomination.node in self.snapshot.rows
        }

    @contextmanager
    def _arrived(self, nominated: dict[Key, Nomination]) -> Iterator[None]:
        """As if nominated pods were on their nodes, until the end of the block."""
        for key, nomination in nominated.items():
            self.snapshot.place(key, nomination.shape, nomination.node)
        try:
            yield
        finally:
            for key in nominated:
                self.snapshot.remove(key)

    def _best(self, cycle: Cycle, rows: NDArray[np.int64]) -> int:
        """The highest score; of equals the node with the fewest pods, which spreads better than upstream's dice.

        Of these the idlest. The live load decides no more than that: a reading is seconds old and knows nothing of the
        pods placed since, so as a score it sent a whole burst to the node that happened to look idle.
        """
        if len(rows) == 1:
            return int(rows[0])
        snap, total = self.snapshot, cycle.total(rows)
        best = rows[total == total.max()]
        pods = snap.requested["pods"][best]
        best = best[pods == pods.min()]
        return int(best[np.nan_to_num(snap.load[best], nan=_UNKNOWN_LOAD).argmin()])

    def _trim(self) -> None:
        if len(self._cycles) > _CYCLES_KEPT:
            self._cycles.popitem(last=False)
        if self.snapshot.census.counter_count > _COUNTERS_KEPT:
            self.snapshot.census.forget_counters()


def verdicts(cycle: Cycle) -> Iterator[tuple[FilterPlugin, int, NDArray[np.int64]]]:
    """The nodes that refuse the pod, grouped by plugin and code."""
    rows = np.flatnonzero((cycle.refused != 0) & cycle.snapshot.valid)
    pairs = np.stack([cycle.refused[rows], cycle.codes[rows]])
    for number, code in np.unique(pairs, axis=1).T:
        same = rows[(pairs[0] == number) & (pairs[1] == code)]
        yield cycle.filters[int(number) - 1], int(code), same
