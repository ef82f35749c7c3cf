"""NodeVolumeLimits: a node takes as many volumes of a CSI driver as the driver says in the CSINode object.

Volumes are counted once however many pods of the node use them. Source:
``pkg/scheduler/framework/plugins/nodevolumelimits/csi.go``; in-tree volumes that were migrated are not known here.
"""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from apimachinery.persistent_volumes import class_of
from master.scheduler.framework import Codes, Event, FilterPlugin, Refusal, Rows, Scope
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot

_REASON = "node(s) exceed max volume count"
_Volume = tuple[str, str]
"""A driver and a volume of it."""


class NodeVolumeLimits(FilterPlugin):
    name = "NodeVolumeLimits"
    scope = Scope.CLUSTER
    wakes: ClassVar[frozenset[Event]] = frozenset({Event.POD_REMOVED, Event.NODE_ADDED, Event.CLAIM_CHANGED})

    def relevant(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return bool(shape.claims and snapshot.csi_nodes and _volumes([shape], snapshot))

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        codes, wanted = np.zeros(snapshot.capacity, np.int64), _volumes([shape], snapshot)
        for name, row in snapshot.rows.items():
            limits = _limits(snapshot, name)
            if limits and _over(wanted, _used(snapshot, row), limits):
                codes[row] = 1
        return codes[rows]

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        return (_REASON,)

    def resolvable(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> bool:
        return True

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        limits, used = _limits(snapshot, snapshot.names[row]), _used(snapshot, row)
        detail = ", ".join(f"{d}: {sum(v[0] == d for v in used)} of {limit}" for d, limit in sorted(limits.items()))
        return Refusal((_REASON,), detail, "remove pods with volumes of the driver")


def _over(wanted: set[_Volume], used: set[_Volume], limits: dict[str, int]) -> bool:
    new, after = {driver for driver, _ in wanted - used}, wanted | used
    return any(sum(v[0] == driver for v in after) > limits[driver] for driver in new & limits.keys())


def _used(snapshot: Snapshot, row: int) -> set[_Volume]:
    return _volumes((placed.shape for placed in snapshot.pods_on[row].values()), snapshot)


def _limits(snapshot: Snapshot, node: str) -> dict[str, int]:
    drivers = ((snapshot.csi_nodes.get(("", node)) or {}).get("spec") or {}).get("drivers") or ()
    found = {d["name"]: (d.get("allocatable") or {}).get("count") for d in drivers}
    return {name: count for name, count in found.items() if count is not None}


def _volumes(shapes: Iterable[PodShape], snapshot: Snapshot) -> set[_Volume]:
    """What pods mount by claims; for one that has no volume yet, what its class's provisioner will make."""
    out = set()
    for shape in shapes:
        for name in shape.claims:
            claim = snapshot.claims.get((shape.namespace, name))
            if claim is None:
                continue
            source = (snapshot.volumes.get(("", claim["spec"].get("volumeName") or "-")) or {}).get("spec") or {}
            if "csi" in source:
                out.add((source["csi"]["driver"], source["csi"]["volumeHandle"]))
            elif not source and (about := snapshot.storage_classes.get(("", class_of(claim)))):
                out.add((about["provisioner"], f"{shape.namespace}/{name}"))
    return out
