"""NodeName: a pod that names its node runs there or nowhere."""

import numpy as np

from master.scheduler.framework import Codes, FilterPlugin, Refusal, Rows
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot


class NodeName(FilterPlugin):
    name = "NodeName"

    def relevant(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return bool(shape.node_name)

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        return np.arange(snapshot.capacity)[rows] != snapshot.rows.get(shape.node_name, -1)  # type: ignore[no-any-return]

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        return ("node(s) didn't match the requested node name",)

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        wanted = shape.node_name
        return Refusal(self.reasons(shape, snapshot, row, code), f"the pod names node {wanted}", "remove spec.nodeName")
