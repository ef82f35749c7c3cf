"""VolumeBinding: a pod goes where its volumes are, or where they can be made.

A bound claim admits the nodes of its volume. A claim whose class waits for the first consumer admits nodes with a free
volume that fits, or all that its provisioner may use; when a node is chosen, ``prepare`` takes the volume for the claim
or writes the chosen node on the claim, and the pod waits for the binder. Where a driver publishes its free space
(CSIStorageCapacity), one segment of it must hold the claim. Source: ``plugins/volumebinding``, KEP-1472.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

import numpy as np

from apimachinery import quantity
from apimachinery.meta import Object, annotations_of, is_deleting, key_of, labels_of, name_of
from apimachinery.persistent_volumes import (
    BIND_COMPLETED,
    NO_PROVISIONER,
    SELECTED_NODE,
    annotated,
    best_match,
    claimed,
    class_of,
    requested,
)
from apimachinery.scheme import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Kind
from apimachinery.selectors import from_object
from master.scheduler.framework import Codes, Event, FilterPlugin, PreBindPlugin, Refusal, Rows, Scope
from master.scheduler.node_selection import Mask, matches
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot

_AFFINITY, _NOTHING_FITS, _NO_SPACE = 1, 2, 3
_REASONS = {
    _AFFINITY: "node(s) didn't match PersistentVolume's node affinity",
    _NOTHING_FITS: "node(s) didn't find available persistent volumes to bind",
    _NO_SPACE: "node(s) did not have enough free storage",
}
_REMEDIES = {
    _AFFINITY: "let the pod onto the volume's node",
    _NOTHING_FITS: "make a volume that fits, or a class that can",
    _NO_SPACE: "make room in the driver's storage, or ask for less",
}


class VolumeBinding(FilterPlugin, PreBindPlugin):
    name = "VolumeBinding"
    scope: ClassVar[Scope] = Scope.CLUSTER
    wakes: ClassVar[frozenset[Event]] = frozenset({Event.CLAIM_CHANGED, Event.NODE_ADDED, Event.NODE_LABELS})

    def relevant(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return bool(shape.claims)

    def pre_filter(self, shape: PodShape, snapshot: Snapshot) -> str:
        return next((why for name in shape.claims if (why := _unusable(shape, snapshot, name))), "")

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        codes = np.zeros(snapshot.capacity, np.int64)
        delayed = []
        for claim in _claims(shape, snapshot):
            if not _is_bound(claim):
                delayed.append(claim)
            elif (volume := snapshot.volumes.get(("", claim["spec"]["volumeName"]))) is not None:
                codes[~_nodes_of(volume, snapshot) & (codes == 0)] = _AFFINITY
        if delayed:
            for row in np.flatnonzero(snapshot.valid & (codes == 0)):
                if isinstance(why := _assign(delayed, snapshot, int(row)), int):
                    codes[row] = why
        return codes[rows]

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        return (_REASONS.get(code) or self.pre_filter(shape, snapshot),)

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        missing = [name for name in shape.claims if (shape.namespace, name) not in snapshot.claims]
        remedy = f"create the claim {', '.join(missing)}" if missing else "bind the claim to a volume"
        detail = f"claims: {', '.join(shape.claims)}"
        return Refusal(self.reasons(shape, snapshot, row, code), detail, _REMEDIES.get(code, remedy))

    def prepare(self, shape: PodShape, snapshot: Snapshot, node: str) -> list[tuple[Kind, Object]] | None:
        delayed = [c for c in _claims(shape, snapshot) if not _is_bound(c)]
        if not delayed:
            return None
        assigned = _assign(delayed, snapshot, snapshot.rows[node])
        pairs = [] if isinstance(assigned, int) else assigned
        return [written for claim, volume in pairs for written in _written(claim, volume, node)]


def _unusable(shape: PodShape, snapshot: Snapshot, name: str) -> str:
    """Why no node will do because of this claim, or ""."""
    claim = snapshot.claims.get((shape.namespace, name))
    if claim is None:
        return f'persistentvolumeclaim "{name}" not found'
    if is_deleting(claim):
        return f'persistentvolumeclaim "{name}" is being deleted'
    if (claim.get("status") or {}).get("phase") == "Lost":
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume'
    if _is_bound(claim) or _is_delayed(claim, snapshot):
        return ""
    return "pod has unbound immediate PersistentVolumeClaims"


def _claims(shape: PodShape, snapshot: Snapshot) -> Iterator[Object]:
    for name in shape.claims:
        claim = snapshot.claims.get((shape.namespace, name))
        if claim is not None:
            yield claim


def _is_bound(claim: Object) -> bool:
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in annotations_of(claim)


def _is_delayed(claim: Object, snapshot: Snapshot) -> bool:
    found = snapshot.storage_classes.get(("", class_of(claim))) or {}
    return found.get("volumeBindingMode") == "WaitForFirstConsumer"


def _nodes_of(volume: Object, snapshot: Snapshot) -> Mask:
    """The rows from which a volume can be reached."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    terms = None if required is None else required.get("nodeSelectorTerms") or ()
    return _any_term(terms, snapshot)


def _any_term(terms: Iterable[Object] | None, snapshot: Snapshot) -> Mask:
    everywhere = np.ones(snapshot.capacity, np.bool_)
    if terms is None:
        return everywhere
    found: Mask = np.any([matches(term, snapshot, slice(None)) for term in terms] or [~everywhere], axis=0)
    return found


def _assign(claims: list[Object], snapshot: Snapshot, row: int) -> list[tuple[Object, Object | None]] | int:
    """For each unbound claim a volume that the node reaches, or None for one to be made; if one gets neither, the
    code that says why."""
    out: list[tuple[Object, Object | None]] = []
    taken: set[str] = set()
    for claim in claims:
        chosen = annotations_of(claim).get(SELECTED_NODE)
        if chosen:
            if chosen != snapshot.names[row]:
                return _NOTHING_FITS
            continue
        near = (v for v in snapshot.volumes.values() if name_of(v) not in taken and _nodes_of(v, snapshot)[row])
        volume = best_match(claim, near)
        if volume is None and (why := _why_not_made(claim, snapshot, row)):
            return why
        if volume is not None:
            taken.add(name_of(volume))
        out.append((claim, volume))
    return out


def _why_not_made(claim: Object, snapshot: Snapshot, row: int) -> int:
    """The code, 0 if the class's provisioner can make a volume for the node."""
    storage_class = snapshot.storage_classes.get(("", class_of(claim))) or {}
    if storage_class.get("provisioner") in (None, "", NO_PROVISIONER):
        return _NOTHING_FITS
    terms = storage_class.get("allowedTopologies")
    labels = labels_of(snapshot.nodes[row] or {"metadata": {}})
    if terms and not any(_allows(term, labels) for term in terms):
        return _NOTHING_FITS
    return 0 if _has_space(claim, storage_class, snapshot, labels) else _NO_SPACE


def _has_space(claim: Object, storage_class: Object, snapshot: Snapshot, labels: Mapping[str, str]) -> bool:
    driver = snapshot.csi_drivers.get(("", storage_class["provisioner"])) or {}
    if not (driver.get("spec") or {}).get("storageCapacity"):
        return True
    for capacity in snapshot.csi_capacities.values():
        largest = capacity.get("maximumVolumeSize") or capacity.get("capacity")
        if capacity["storageClassName"] == class_of(claim) and largest is not None:
            near = from_object(capacity.get("nodeTopology")).matches(labels)
            if near and quantity.value(largest) >= requested(claim):
                return True
    return False


def _allows(term: Object, labels: object) -> bool:
    have = dict(labels) if isinstance(labels, dict) else {}
    return all(have.get(e["key"]) in e["values"] for e in term.get("matchLabelExpressions") or ())


def _written(claim: Object, volume: Object | None, node: str) -> Iterator[tuple[Kind, Object]]:
    if volume is None:
        yield PERSISTENT_VOLUME_CLAIMS, annotated(claim, {SELECTED_NODE: node})
    elif not (volume["spec"].get("claimRef") or {}).get("uid"):
        yield PERSISTENT_VOLUMES, claimed(volume, claim)


def assume(snapshot: Snapshot, kind: Kind, obj: Object) -> None:
    """Decide as if what ``prepare`` asks for were written already; the next event puts right what was not."""
    table = snapshot.claims if kind is PERSISTENT_VOLUME_CLAIMS else snapshot.volumes
    table[key_of(obj)] = obj
    snapshot.tick()
