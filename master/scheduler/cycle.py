"""What is known of one shape of pod: for every row which filter refuses it and why, and its scores."""

import numpy as np
from numpy.typing import NDArray

from master.scheduler.framework import Codes, FilterPlugin, Profile, Rows, Scope, ScorePlugin, Scores
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot

_NO_ROWS = np.zeros(0, np.int64)


class Cycle:
    """The verdicts and scores of one shape.

    ``refresh`` brings them up to the snapshot's clock by re-evaluating only rows that changed since, except for
    plugins whose answer depends on the whole cluster. Invariant after it: equal to a cycle made afresh.
    ``refused[row]`` is 1 + the index in ``filters`` of the first one that refuses the row, or 0; ``codes[row]`` is
    that filter's code. Rows that are not valid hold no meaning.
    """

    def __init__(self, shape: PodShape, profile: Profile, snapshot: Snapshot) -> None:
        self.shape, self.snapshot, self.profile = shape, snapshot, profile
        self.filters: list[FilterPlugin] = []
        self.scorers: list[ScorePlugin] = []
        self.refused: Codes = _NO_ROWS
        self.codes: Codes = _NO_ROWS
        self._seen = -1
        self._table: Codes = np.zeros((0, 0), np.int64)  # [filter, row]
        self._local: Scores = _NO_ROWS  # weighted sum of the scores that need no normalizing
        self._locals: list[ScorePlugin] = []

    def refresh(self) -> None:
        snap = self.snapshot
        if self._seen == snap.clock:
            return
        self._choose_plugins()
        changed = {scope: self._changed(scope) for scope in Scope}
        for number, plugin in enumerate(self.filters):
            rows = changed[plugin.scope]
            if isinstance(rows, slice) or rows.size:
                self._table[number, rows] = plugin.filter(self.shape, snap, rows)
        whole = any(p.scope is Scope.CLUSTER for p in self.filters)
        self._merge(slice(None) if whole else changed[Scope.USE])
        self._sum_locals(changed[Scope.USE])
        self._seen = snap.clock

    def feasible(self) -> NDArray[np.int64]:
        """The rows of nodes that take the pod. Call ``refresh`` first."""
        return np.flatnonzero((self.refused == 0) & self.snapshot.valid)

    def total(self, rows: NDArray[np.int64]) -> Scores:
        """The weighted sum of all scores of ``rows``, which must be all feasible ones."""
        total = self._local[rows]
        for plugin in self.scorers:
            if plugin.normalized:
                total = total + plugin.weight * self.score(plugin, rows)
        return total

    def score(self, plugin: ScorePlugin, rows: NDArray[np.int64]) -> Scores:
        """One plugin's scores, 0..100, of all feasible rows."""
        raw = plugin.score(self.shape, self.snapshot, rows)
        return plugin.normalize(self.shape, self.snapshot, rows, raw) if plugin.normalized else raw

    def _choose_plugins(self) -> None:
        """Take the plugins that matter for the shape now; if they or the rows are others than before, start anew."""
        shape, snap = self.shape, self.snapshot
        filters = [p for p in self.profile.filters if p.relevant(shape, snap)]
        scorers = [p for p in self.profile.scores if p.scores(shape, snap)]
        if filters == self.filters and scorers == self.scorers and len(self.refused) == snap.capacity:
            return
        self._seen, self.filters, self.scorers = -1, filters, scorers
        self._locals = [p for p in scorers if not p.normalized]
        self._table = np.zeros((len(filters), snap.capacity), np.int64)
        self.refused, self.codes, self._local = (np.zeros(snap.capacity, np.int64) for _ in range(3))

    def _changed(self, scope: Scope) -> Rows:
        if self._seen < 0 or scope is Scope.CLUSTER:
            return slice(None)
        changed = self.snapshot.node_changed > self._seen
        if scope is Scope.USE:
            changed |= self.snapshot.use_changed > self._seen
        return np.flatnonzero(changed)

    def _merge(self, rows: Rows) -> None:
        """Join the filters' codes: the first refusal of a row counts."""
        refused = np.zeros_like(self.refused[rows])
        codes = np.zeros_like(refused)
        for number in range(len(self.filters), 0, -1):
            found = self._table[number - 1][rows]
            refuses = found != 0
            refused[refuses] = number
            codes[refuses] = found[refuses]
        self.refused[rows], self.codes[rows] = refused, codes

    def _sum_locals(self, rows: Rows) -> None:
        if isinstance(rows, slice) or rows.size:
            total = np.zeros_like(self._local[rows])
            for plugin in self._locals:
                total += plugin.weight * plugin.score(self.shape, self.snapshot, rows)
            self._local[rows] = total
