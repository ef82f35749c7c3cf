"""The cluster as the scheduler sees it: NumPy arrays with one row a node, kept up to date by deltas.

Guarantees: every quantity is an exact integer; after any sequence of deltas the arrays equal those built afresh
from the same nodes and pods (a property test holds this); a pod is counted once, whether only assumed here or
already confirmed by the API server. It cannot see what its owner does not tell it, and it is not thread-safe:
one event loop owns it.

A row is never moved while a node or a pod of that node exists, so plugins may keep row numbers within a cycle.
Pods of a node that is not known (yet, or any more) hold a row that is not ``valid``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from master.scheduler.census import Census
from master.scheduler.columns import ImageColumn, LabelColumn, TaintSet, set_images, taint_set
from master.scheduler.peers import Peers
from master.scheduler.requests import amounts
from master.scheduler.shape import HostPort, Key, PodShape

Object = dict[str, Any]
Ints = NDArray[np.int64]
_FIRST_CAPACITY = 64


@dataclass(slots=True)
class Placement:
    """A pod on a node. ``pod`` is None while the placement is only assumed."""

    shape: PodShape
    node: str
    row: int
    leaving: bool
    pod: Object | None


class Snapshot:
    """See the module. Arrays are indexed by row and as long as ``capacity``; ``valid`` marks rows with a node.

    ``clock`` grows with every change; ``node_changed[row]`` and ``use_changed[row]`` tell when the node object and
    the pods on it last changed. ``allocatable``/``requested`` have a column for each resource name seen so far.
    """

    def __init__(self) -> None:
        self.capacity = _FIRST_CAPACITY
        self.clock = 0
        self.valid, self.unschedulable = (np.zeros(self.capacity, np.bool_) for _ in range(2))
        self.taint_set: Ints = self._zeros()
        self.node_changed: Ints = self._zeros()
        self.use_changed: Ints = self._zeros()
        self.scored_cpu: Ints = self._zeros()
        self.scored_memory: Ints = self._zeros()
        self.load: NDArray[np.float64] = np.full(self.capacity, np.nan)
        self.allocatable: dict[str, Ints] = {}
        self.requested: dict[str, Ints] = {"pods": self._zeros()}
        self.taint_sets: list[TaintSet] = [()]
        self.images: dict[str, ImageColumn] = {}
        self.ports: dict[tuple[str, int], dict[str, Ints]] = {}
        self.namespaces: dict[str, Mapping[str, str]] = {}
        self.claims: dict[Key, Object] = {}
        self.volumes: dict[Key, Object] = {}
        self.storage_classes: dict[Key, Object] = {}
        self.csi_drivers: dict[Key, Object] = {}
        self.csi_nodes: dict[Key, Object] = {}
        self.csi_capacities: dict[Key, Object] = {}
        self.budgets: dict[Key, Object] = {}
        self.census = Census(self.capacity)
        self.peers = Peers()
        self.names: list[str] = [""] * self.capacity
        self.nodes: list[Object | None] = [None] * self.capacity
        self.rows: dict[str, int] = {}
        self.placements: dict[Key, Placement] = {}
        self.pods_on: list[dict[Key, Placement]] = [{} for _ in range(self.capacity)]
        self._labels: dict[str, LabelColumn] = {}
        self._taint_index: dict[TaintSet, int] = {(): 0}
        self._free = list(range(self.capacity - 1, -1, -1))

    # --- nodes

    @property
    def node_count(self) -> int:
        return int(np.count_nonzero(self.valid))

    def set_node(self, node: Object) -> int:
        """Add or replace a node. Returns its row."""
        row = self._row_for(node["metadata"]["name"])
        old, self.nodes[row] = self.nodes[row] or {}, node
        self.valid[row] = True
        self._set_allocatable(row, (node.get("status") or {}).get("allocatable"))
        self._set_labels(row, node["metadata"].get("labels") or {})
        self.unschedulable[row] = bool((node.get("spec") or {}).get("unschedulable"))
        self.taint_set[row] = self._intern_taints(taint_set(node))
        set_images(self.images, self.capacity, row, old, node)
        self._touch(row, self.node_changed)
        return row

    def refresh_node(self, node: Object) -> None:
        """Take over a node object of which nothing that decisions depend on has changed: no row gets dirty."""
        row = self.rows.get(node["metadata"]["name"])
        if row is not None and self.nodes[row] is not None:
            self.nodes[row] = node

    def tick(self) -> None:
        """Something that belongs to no node has changed: ``peers``, claims, volumes or classes."""
        self.clock += 1

    def remove_node(self, name: str) -> None:
        row = self.rows.get(name)
        if row is None or (node := self.nodes[row]) is None:
            return
        self._set_allocatable(row, None)
        self._set_labels(row, {})
        set_images(self.images, self.capacity, row, node, {})
        self.unschedulable[row], self.taint_set[row], self.load[row] = False, 0, np.nan
        self.nodes[row], self.valid[row] = None, False
        self._touch(row, self.node_changed)
        self._release(row)

    def set_load(self, name: str, fraction: float) -> None:
        """The live load of a node: the busier of processor and memory, 0..1."""
        row = self.rows.get(name)
        if row is not None:
            self.load[row] = fraction

    def label(self, key: str) -> LabelColumn:
        """The column of a label key; made when first asked for."""
        column = self._labels.get(key)
        if column is None:
            column = self._labels[key] = LabelColumn(self.capacity)
            for row in self.rows.values():
                self._put_label(column, key, row)
        return column

    # --- pods

    def place(self, key: Key, shape: PodShape, node: str, pod: Object | None = None) -> Placement:
        """Count a pod on a node; one that is already counted there under ``key`` is replaced."""
        self.remove(key)
        row = self._row_for(node)
        leaving = bool(pod and pod["metadata"].get("deletionTimestamp"))
        placement = Placement(shape, node, row, leaving, pod)
        self.placements[key] = self.pods_on[row][key] = placement
        self._count(placement, 1)
        self.census.add(shape, row, leaving)
        return placement

    def confirm(self, key: Key, shape: PodShape, pod: Object) -> bool:
        """Take over what the API server says of a pod. False if nothing that counts has changed."""
        placed, node = self.placements.get(key), pod["spec"]["nodeName"]
        leaving = bool(pod["metadata"].get("deletionTimestamp"))
        if placed and (placed.shape, placed.node, placed.leaving) == (shape, node, leaving):
            placed.pod = pod
            return False
        self.place(key, shape, node, pod)
        return True

    def remove(self, key: Key) -> Placement | None:
        """Stop counting a pod; None if it was not counted."""
        placement = self.placements.pop(key, None)
        if placement is None:
            return None
        del self.pods_on[placement.row][key]
        self._count(placement, -1)
        self.census.remove(placement.shape, placement.row, placement.leaving)
        self._release(placement.row)
        return placement

    def restore(self, key: Key, placement: Placement) -> None:
        """Undo ``remove``."""
        self.place(key, placement.shape, placement.node, placement.pod)

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """The labels of a namespace (None: gone), which namespace selectors of affinity terms look at."""
        if labels == self.namespaces.get(name):
            return
        if labels is None:
            del self.namespaces[name]
        else:
            self.namespaces[name] = labels
        self.census.forget_counters()
        self.clock += 1

    def port_users(self, port: HostPort) -> Iterator[Ints]:
        """Arrays of how many pods hold a host port in a way that clashes with ``port``."""
        for ip, users in self.ports.get((port.protocol, port.port), {}).items():
            if ip == port.ip or "0.0.0.0" in (ip, port.ip):
                yield users

    # --- inside

    def _zeros(self) -> Ints:
        return np.zeros(self.capacity, np.int64)

    def _touch(self, row: int, when: Ints) -> None:
        self.clock += 1
        when[row] = self.clock

    def _row_for(self, name: str) -> int:
        row = self.rows.get(name)
        if row is None:
            if not self._free:
                self._grow()
            row = self.rows[name] = self._free.pop()
            self.names[row] = name
        return row

    def _release(self, row: int) -> None:
        if self.nodes[row] is None and not self.pods_on[row]:
            del self.rows[self.names[row]]
            self.names[row] = ""
            self._free.append(row)

    def _count(self, placement: Placement, sign: int) -> None:
        shape, row = placement.shape, placement.row
        for name, amount in shape.requests.items():
            self._column(self.requested, name)[row] += sign * amount
        self.requested["pods"][row] += sign
        self.scored_cpu[row] += sign * shape.scored[0]
        self.scored_memory[row] += sign * shape.scored[1]
        for port in shape.ports:
            users = self.ports.setdefault((port.protocol, port.port), {})
            users.setdefault(port.ip, self._zeros())[row] += sign
        self._touch(row, self.use_changed)

    def _column(self, table: dict[str, Ints], name: str) -> Ints:
        column = table.get(name)
        if column is None:
            column = table[name] = self._zeros()
        return column

    def _set_allocatable(self, row: int, quantities: Mapping[str, Any] | None) -> None:
        for column in self.allocatable.values():
            column[row] = 0
        for name, amount in amounts(quantities).items():
            self._column(self.allocatable, name)[row] = amount

    def _set_labels(self, row: int, labels: Mapping[str, str]) -> None:
        for key, column in self._labels.items():
            column.put(row, labels.get(key))

    def _put_label(self, column: LabelColumn, key: str, row: int) -> None:
        node = self.nodes[row]
        if node is not None:
            column.put(row, (node["metadata"].get("labels") or {}).get(key))

    def _intern_taints(self, taints: TaintSet) -> int:
        number = self._taint_index.get(taints)
        if number is None:
            number = self._taint_index[taints] = len(self.taint_sets)
            self.taint_sets.append(taints)
        return number

    def _grow(self) -> None:
        old, self.capacity = self.capacity, self.capacity * 2
        extra = self.capacity - old
        for name in (
            "valid",
            "unschedulable",
            "taint_set",
            "node_changed",
            "use_changed",
            "scored_cpu",
            "scored_memory",
        ):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros(extra, array.dtype)]))
        self.load = np.concatenate([self.load, np.full(extra, np.nan)])
        for table in (self.allocatable, self.requested, *self.ports.values()):
            for key in table:
                table[key] = np.concatenate([table[key], np.zeros(extra, np.int64)])
        columns: list[LabelColumn | ImageColumn] = [*self._labels.values(), *self.images.values()]
        for column in columns:
            column.grow(self.capacity)
        self.census.grow(self.capacity)
        self.names += [""] * extra
        self.nodes += [None] * extra
        self.pods_on += [{} for _ in range(extra)]
        self._free = list(range(self.capacity - 1, old - 1, -1))
