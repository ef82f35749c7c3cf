"""DynamicResources: refused by name. Nothing here allocates devices, so a pod with resource claims must not start."""

from typing import ClassVar

import numpy as np

from master.scheduler.framework import Codes, Event, FilterPlugin, Refusal, Rows
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot


class DynamicResources(FilterPlugin):
    name = "DynamicResources"
    wakes: ClassVar[frozenset[Event]] = frozenset()

    def relevant(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return bool(shape.resource_claims)

    def pre_filter(self, shape: PodShape, snapshot: Snapshot) -> str:
        return f"resource claims are not supported: {', '.join(shape.resource_claims)}"

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        return np.zeros(snapshot.capacity, np.int64)[rows]

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        return (self.pre_filter(shape, snapshot),)

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        return Refusal(self.reasons(shape, snapshot, row, code), "spec.resourceClaims is set", "use extended resources")
