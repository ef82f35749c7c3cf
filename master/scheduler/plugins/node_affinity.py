"""NodeAffinity: nodeSelector, required and preferred node affinity, by labels and by name."""

from typing import ClassVar

import numpy as np

from master.scheduler.framework import Codes, Event, FilterPlugin, Refusal, Rows, ScorePlugin, Scores, normalize_by_max
from master.scheduler.node_selection import matches, required
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot

_OTHER_NODE = 2


def _by_name_only(shape: PodShape) -> bool:
    """Whether every required term names its nodes, as the pods of a DaemonSet do."""
    return bool(shape.node_terms) and all(
        any(r["operator"] == "In" for r in term.get("matchFields") or ()) for term in shape.node_terms or ()
    )


class NodeAffinity(FilterPlugin, ScorePlugin):
    name = "NodeAffinity"
    wakes: ClassVar[frozenset[Event]] = frozenset({Event.NODE_ADDED, Event.NODE_LABELS})
    weight = 2
    normalized = True

    def relevant(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return bool(shape.node_selector) or shape.node_terms is not None

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        return np.where(required(shape, snapshot, rows), 0, _OTHER_NODE if _by_name_only(shape) else 1)

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        if code == _OTHER_NODE:  # upstream leaves these nodes out before filtering and says so
            return ("node(s) didn't satisfy plugin(s) [NodeAffinity]",)
        return ("node(s) didn't match Pod's node affinity/selector",)

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        node = snapshot.nodes[row] or {"metadata": {}}
        labels = node["metadata"].get("labels") or {}
        missing = [f"{k}={v}" for k, v in shape.node_selector.items() if labels.get(k) != v]
        reasons = self.reasons(shape, snapshot, row, code)
        if not missing:
            return Refusal(reasons, "no term of the required node affinity matches", "label the node to match a term")
        detail = f"the node lacks {', '.join(missing)}"
        return Refusal(reasons, detail, f"kubectl label node {snapshot.names[row]} {' '.join(missing)}")

    def scores(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return bool(shape.node_preferences)

    def score(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Scores:
        total = np.zeros(snapshot.capacity, np.int64)[rows]
        for preference in shape.node_preferences:
            total += int(preference["weight"]) * matches(preference["preference"], snapshot, rows)
        return total

    def normalize(self, shape: PodShape, snapshot: Snapshot, rows: Rows, raw: Scores) -> Scores:
        return normalize_by_max(raw)
