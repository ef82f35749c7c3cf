"""NodePorts: two pods of a node cannot hold one host port, unless on different addresses or protocols."""

from typing import ClassVar

import numpy as np

from master.scheduler.framework import NODE_EVENTS, Codes, Event, FilterPlugin, Refusal, Rows, Scope
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot

_LAST_BIT = 62  # of an int64: ports beyond it share it


class NodePorts(FilterPlugin):
    name = "NodePorts"
    scope = Scope.USE
    wakes: ClassVar[frozenset[Event]] = NODE_EVENTS | {Event.POD_REMOVED}

    def relevant(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return bool(shape.ports)

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        """The code is a bit mask: which of the pod's ports are taken."""
        codes = np.zeros(snapshot.capacity, np.int64)[rows]
        for bit, port in enumerate(shape.ports):
            for users in snapshot.port_users(port):
                codes |= (users[rows] > 0).astype(np.int64) << min(bit, _LAST_BIT)
        return codes

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        return ("node(s) didn't have free ports for the requested pod ports",)

    def resolvable(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> bool:
        return True

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        taken = [
            f"{p.ip}:{p.port}/{p.protocol}" for bit, p in enumerate(shape.ports) if code >> min(bit, _LAST_BIT) & 1
        ]
        holders = [
            f"{namespace}/{name}"
            for (namespace, name), placed in snapshot.pods_on[row].items()
            if {(p.protocol, p.port) for p in placed.shape.ports} & {(p.protocol, p.port) for p in shape.ports}
        ]
        detail = f"{', '.join(taken)} held by {', '.join(sorted(holders))}"
        return Refusal(self.reasons(shape, snapshot, row, code), detail, "use another host port, or none")
