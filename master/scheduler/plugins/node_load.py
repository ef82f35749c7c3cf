"""NodeLoad (Kubeto's own): prefer nodes that are idle right now, whatever is requested of them.

The load is what the agents stream (``NodeAgent.WatchLoad``): the busier of processor and memory. A node of which
nothing is known counts as half busy, so that it is neither sought nor shunned.
"""

import numpy as np

from master.scheduler.framework import MAX_SCORE, Rows, ScorePlugin, Scores
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot

_UNKNOWN = 0.5


class NodeLoad(ScorePlugin):
    name = "NodeLoad"

    def scores(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return snapshot.load_known

    def score(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Scores:
        busy = np.nan_to_num(snapshot.load[rows], nan=_UNKNOWN)
        return ((1 - np.clip(busy, 0, 1)) * MAX_SCORE).astype(np.int64)
