"""VolumeRestrictions: a claim for one pod alone (ReadWriteOncePod) is used by no other pod.

Source: ``pkg/scheduler/framework/plugins/volumerestrictions``, KEP-2485. The limits of in-tree disks are not kept:
there are none.
"""

from typing import ClassVar

import numpy as np

from master.scheduler.framework import Codes, Event, FilterPlugin, Refusal, Rows, Scope
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot

_REASON = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"


class VolumeRestrictions(FilterPlugin):
    name = "VolumeRestrictions"
    scope = Scope.CLUSTER
    wakes: ClassVar[frozenset[Event]] = frozenset({Event.POD_REMOVED, Event.CLAIM_CHANGED})

    def relevant(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return bool(_exclusive(shape, snapshot))

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        wanted = _exclusive(shape, snapshot)
        users = (p.shape for p in snapshot.placements.values() if p.shape.namespace == shape.namespace)
        taken = any(wanted & set(other.claims) for other in users)
        return np.full(snapshot.capacity, int(taken), np.int64)[rows]

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        return (_REASON,)

    def resolvable(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> bool:
        return True

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        detail = f"claims: {', '.join(sorted(_exclusive(shape, snapshot)))}"
        return Refusal((_REASON,), detail, "delete the pod that uses the claim")


def _exclusive(shape: PodShape, snapshot: Snapshot) -> set[str]:
    claims = {name: snapshot.claims.get((shape.namespace, name)) for name in shape.claims}
    return {n for n, c in claims.items() if c and "ReadWriteOncePod" in (c["spec"].get("accessModes") or ())}
