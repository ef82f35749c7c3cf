"""NodeResourcesBalancedAllocation: prefer nodes whose processor and memory would be used in equal shares."""

import numpy as np
from numpy.typing import NDArray

from master.scheduler.framework import MAX_SCORE, Rows, Scope, ScorePlugin, Scores
from master.scheduler.plugins.node_resources_fit import column
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot


class NodeResourcesBalancedAllocation(ScorePlugin):
    name = "NodeResourcesBalancedAllocation"
    scope = Scope.USE

    def scores(self, shape: PodShape, snapshot: Snapshot) -> bool:
        """Not for best-effort pods, which would all gather on the node with the best balance."""
        return bool(shape.requests.get("cpu") or shape.requests.get("memory"))

    def score(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Scores:
        cpu = self._fraction("cpu", shape, snapshot, rows)
        memory = self._fraction("memory", shape, snapshot, rows)
        # The standard deviation of two numbers is half their distance; a node without one resource is in balance.
        deviation = np.nan_to_num(np.abs(cpu - memory) / 2)
        scores: Scores = ((1 - deviation) * MAX_SCORE).astype(np.int64)
        return scores

    def _fraction(self, name: str, shape: PodShape, snapshot: Snapshot, rows: Rows) -> NDArray[np.float64]:
        used = column(snapshot.requested, name, snapshot, rows) + shape.requests.get(name, 0)
        capacity = column(snapshot.allocatable, name, snapshot, rows)
        return np.where(capacity > 0, np.minimum(used / np.maximum(capacity, 1), 1.0), np.nan)
