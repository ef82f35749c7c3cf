"""NodeUnschedulable: a cordoned node takes only pods that tolerate its taint."""

from typing import ClassVar

import numpy as np

from master.scheduler.framework import NODE_EVENTS, Codes, Event, FilterPlugin, Refusal, Rows
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot
from master.scheduler.taints import tolerates

_TAINT = ("node.kubernetes.io/unschedulable", "", "NoSchedule")


class NodeUnschedulable(FilterPlugin):
    name = "NodeUnschedulable"
    wakes: ClassVar[frozenset[Event]] = NODE_EVENTS

    def relevant(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return not tolerates(shape.tolerations, _TAINT)

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        return snapshot.unschedulable[rows].astype(np.int64)

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        return ("node(s) were unschedulable",)

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        name = snapshot.names[row]
        reasons = self.reasons(shape, snapshot, row, code)
        return Refusal(reasons, "spec.unschedulable is true", f"kubectl uncordon {name}")
