"""VolumeBinding, as far as Kubeto has volumes: a pod waits until its claims exist and are bound.

Topology of volumes and delayed binding are left out: there is no provisioner yet that would need them.
"""

from typing import ClassVar

import numpy as np

from master.scheduler.framework import Codes, Event, FilterPlugin, Refusal, Rows
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot


class VolumeBinding(FilterPlugin):
    name = "VolumeBinding"
    wakes: ClassVar[frozenset[Event]] = frozenset({Event.CLAIM_CHANGED})

    def relevant(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return bool(shape.claims)

    def pre_filter(self, shape: PodShape, snapshot: Snapshot) -> str:
        for name in shape.claims:
            claim = snapshot.claims.get((shape.namespace, name))
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if claim["metadata"].get("deletionTimestamp"):
                return f'persistentvolumeclaim "{name}" is being deleted'
            if (claim.get("status") or {}).get("phase") == "Lost":
                return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume'
            if not (claim.get("spec") or {}).get("volumeName"):
                return "pod has unbound immediate PersistentVolumeClaims"
        return ""

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        return np.zeros(snapshot.capacity, np.int64)[rows]

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        missing = [name for name in shape.claims if (shape.namespace, name) not in snapshot.claims]
        remedy = f"create the claim {', '.join(missing)}" if missing else "bind the claim to a volume"
        return Refusal(self.reasons(shape, snapshot, row, code), f"claims: {', '.join(shape.claims)}", remedy)

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        return (self.pre_filter(shape, snapshot),)
