"""PodTopologySpread: keep the pods of a selector even over topology domains, strictly or by preference.

Source: KEP-895, KEP-3022 (minDomains), KEP-3094 (node inclusion policies).
"""

from typing import ClassVar

import numpy as np

from master.scheduler.framework import (
    MAX_SCORE,
    NODE_EVENTS,
    Codes,
    Event,
    FilterPlugin,
    Refusal,
    Rows,
    Scope,
    ScorePlugin,
    Scores,
)
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot
from master.scheduler.topology import crowding, included, labelled, skew, soft_constraints

_NO_LABEL, _SKEWED = 1, 2
_WORDS = {
    _NO_LABEL: "node(s) didn't match pod topology spread constraints (missing required label)",
    _SKEWED: "node(s) didn't match pod topology spread constraints",
}
_POD_EVENTS = {Event.NODE_REMOVED, Event.POD_PLACED, Event.POD_LABELS, Event.POD_REMOVED}


class PodTopologySpread(FilterPlugin, ScorePlugin):
    name = "PodTopologySpread"
    scope = Scope.CLUSTER
    wakes: ClassVar[frozenset[Event]] = NODE_EVENTS | _POD_EVENTS
    weight = 2
    normalized = True

    def relevant(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return any(c.hard for c in shape.spread)

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        hard = [c for c in shape.spread if c.hard]
        everywhere = labelled(hard, snapshot)
        codes = np.zeros(snapshot.capacity, np.int64)
        for constraint in reversed(hard):
            among = everywhere & included(constraint, shape, snapshot)
            filled, least = skew(constraint, shape, snapshot, among)
            codes[filled - least > constraint.max_skew] = _SKEWED
            codes[snapshot.label(constraint.topology_key).ids < 0] = _NO_LABEL
        return codes[rows]

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        return (_WORDS[code],)

    def resolvable(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> bool:
        return code == _SKEWED

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        hard = [c for c in shape.spread if c.hard]
        everywhere = labelled(hard, snapshot)
        details, remedies = [], []
        for c in hard:
            filled, least = skew(c, shape, snapshot, everywhere & included(c, shape, snapshot))
            if snapshot.label(c.topology_key).ids[row] < 0:
                details.append(f"the node has no label {c.topology_key}")
                remedies.append(f"kubectl label node {snapshot.names[row]} {c.topology_key}=...")
            elif filled[row] - least > c.max_skew:
                details.append(
                    f"{c.topology_key}: {filled[row]} pods here, {least} in the emptiest, skew over {c.max_skew}"
                )
                remedies.append(
                    f"maxSkew {filled[row] - least}, or {filled[row] - least - c.max_skew} more pods elsewhere"
                )
        return Refusal((_WORDS[code],), "; ".join(details), "; ".join(remedies))

    def scores(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return bool(soft_constraints(shape, snapshot))

    def score(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Scores:
        """The weighted number of peers near each of the feasible ``rows``; -1 for a node that lacks a label."""
        constraints = soft_constraints(shape, snapshot)
        everywhere = labelled(constraints if shape.spread else [], snapshot)
        taking = everywhere[rows]
        total = np.zeros(len(taking), np.float64)
        for c in constraints:
            total += crowding(c, shape, snapshot, rows, taking)
        return np.where(taking, np.rint(total), -1).astype(np.int64)

    def normalize(self, shape: PodShape, snapshot: Snapshot, rows: Rows, raw: Scores) -> Scores:
        known = raw >= 0
        low, high = (int(raw[known].min()), int(raw[known].max())) if known.any() else (0, 0)
        scaled = MAX_SCORE * (high + low - raw) // high if high else np.full_like(raw, MAX_SCORE)
        return np.where(known, scaled, 0)
