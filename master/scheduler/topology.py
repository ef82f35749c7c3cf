"""Pods per topology domain: the arithmetic under pod topology spread and inter-pod affinity.

All of it works on the census' counts by node and the interned label columns, never on pods.
"""

import numpy as np
from numpy.typing import NDArray

from master.scheduler.framework import Rows
from master.scheduler.node_selection import required
from master.scheduler.shape import PodShape, Spread
from master.scheduler.snapshot import Ints, Snapshot
from master.scheduler.taints import repels

Mask = NDArray[np.bool_]
HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
# (topology key, max skew) of upstream's system default constraints, all of them preferences.
_SYSTEM_DEFAULTS = ((HOSTNAME, 3), (ZONE, 5))


def per_domain(counts: Ints, snapshot: Snapshot, topology_key: str) -> Ints:
    """For each row, the sum of ``counts`` over its domain; 0 for rows without the label."""
    column = snapshot.label(topology_key)
    inside = column.ids >= 0
    sums = np.bincount(column.ids[inside], counts[inside], len(column.values) + 1).astype(np.int64)
    return sums[column.ids]  # rows without the label (-1) read the last sum, which is always 0


def soft_constraints(shape: PodShape, snapshot: Snapshot) -> list[Spread]:
    """The pod's own preferences, or the system's defaults for a pod that has peers and no constraints."""
    if shape.spread:
        return [c for c in shape.spread if not c.hard]
    selector = snapshot.peers.selector(shape)
    if selector is None:
        return []
    key = f"peers {selector}".encode()
    return [Spread(key, topology, selector, skew, 1, False, True, False) for topology, skew in _SYSTEM_DEFAULTS]


def labelled(constraints: list[Spread], snapshot: Snapshot) -> Mask:
    """The nodes that have the topology labels of all constraints."""
    mask = snapshot.valid.copy()
    for constraint in constraints:
        mask &= snapshot.label(constraint.topology_key).ids >= 0
    return mask


def included(constraint: Spread, shape: PodShape, snapshot: Snapshot) -> Mask:
    """The nodes that count for a constraint by its nodeAffinityPolicy and nodeTaintsPolicy (KEP-3094)."""
    mask = snapshot.valid.copy()
    if constraint.honor_affinity and (shape.node_selector or shape.node_terms is not None):
        mask &= required(shape, snapshot, slice(None))
    if constraint.honor_taints:
        mask &= repels(shape, snapshot)[snapshot.taint_set] == 0
    return mask


def matching(constraint: Spread, shape: PodShape, snapshot: Snapshot) -> Ints:
    """Pods of the shape's namespace that the constraint selects and that are not terminating, by row."""
    selector, namespace = constraint.selector, shape.namespace
    return snapshot.census.counts(
        (namespace, constraint.key), lambda ns, labels: ns == namespace and selector.matches(labels), with_leaving=False
    )


def sums_by_domain(constraint: Spread, shape: PodShape, snapshot: Snapshot, among: Mask) -> Ints:
    """Matching pods by domain id, counted on the nodes ``among``; the last entry, for nodes without the label, is 0."""
    column = snapshot.label(constraint.topology_key)
    among = among & (column.ids >= 0)
    counts = matching(constraint, shape, snapshot)
    return np.bincount(column.ids[among], counts[among], len(column.values) + 1).astype(np.int64)


def skew(constraint: Spread, shape: PodShape, snapshot: Snapshot, among: Mask) -> tuple[Ints, int]:
    """For each row, the matching pods of its domain if the pod were added; and the least of all domains.

    Fewer than ``min_domains`` domains make the least 0 (KEP-3022).
    """
    ids = snapshot.label(constraint.topology_key).ids
    sums = sums_by_domain(constraint, shape, snapshot, among)
    domains = np.unique(ids[among])
    least = int(sums[domains].min()) if len(domains) >= constraint.min_domains else 0
    return sums[ids] + int(constraint.selector.matches(shape.labels)), least


def crowding(c: Spread, shape: PodShape, snapshot: Snapshot, rows: Rows, taking: Mask) -> NDArray[np.float64]:
    """One constraint's share: pods in the domain, heavier the more domains there are, so that each key counts."""
    ids = snapshot.label(c.topology_key).ids[rows]
    if c.topology_key == HOSTNAME:
        counts, domains = matching(c, shape, snapshot)[rows], int(np.count_nonzero(taking))
    else:
        among = labelled([s for s in shape.spread if not s.hard], snapshot) & included(c, shape, snapshot)
        sums: Ints = sums_by_domain(c, shape, snapshot, among)
        counts, domains = sums[ids], len(np.unique(ids[taking & (ids >= 0)]))
    return np.where(ids >= 0, counts * np.log(domains + 2) + (c.max_skew - 1), 0.0)
