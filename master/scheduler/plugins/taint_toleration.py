"""TaintToleration: nodes repel pods that do not tolerate their taints, strictly or by preference."""

from typing import ClassVar

import numpy as np

from master.scheduler.framework import (
    NODE_EVENTS,
    Codes,
    Event,
    FilterPlugin,
    Refusal,
    Rows,
    ScorePlugin,
    Scores,
    normalize_by_max,
)
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot
from master.scheduler.taints import repels, tolerates, untolerated


class TaintToleration(FilterPlugin, ScorePlugin):
    name = "TaintToleration"
    wakes: ClassVar[frozenset[Event]] = NODE_EVENTS
    weight = 3
    normalized = True

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        return repels(shape, snapshot)[snapshot.taint_set[rows]]

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        return ("node(s) had untolerated taint(s)",)

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        taint = untolerated(shape, snapshot.taint_sets[int(snapshot.taint_set[row])])
        assert taint is not None, "a refusal without a taint"  # noqa: S101
        key, value, effect = taint
        text = f"{key}={value}:{effect}" if value else f"{key}:{effect}"
        remedy = f"tolerate {text} in the pod, or remove the taint: kubectl taint node {snapshot.names[row]} {text}-"
        return Refusal(self.reasons(shape, snapshot, row, code), f"taint {text}", remedy)

    def scores(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return any(effect == "PreferNoSchedule" for taints in snapshot.taint_sets for _, _, effect in taints)

    def score(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Scores:
        return _dislikes(shape, snapshot)[snapshot.taint_set[rows]]

    def normalize(self, shape: PodShape, snapshot: Snapshot, rows: Rows, raw: Scores) -> Scores:
        return normalize_by_max(raw, reverse=True)


def _dislikes(shape: PodShape, snapshot: Snapshot) -> Scores:
    """By taint set: how many PreferNoSchedule taints the pod does not tolerate."""
    soft = [[t for t in taints if t[2] == "PreferNoSchedule"] for taints in snapshot.taint_sets]
    return np.array([sum(not tolerates(shape.tolerations, t) for t in taints) for taints in soft], np.int64)
