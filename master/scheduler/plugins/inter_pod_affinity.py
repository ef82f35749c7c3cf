"""InterPodAffinity: pods that want, or want not, to be in one topology domain with others.

Symmetric: a pod that is placed keeps out, draws or repels later pods by the terms it carries. Works on counts per
domain (``Census``), never on pods.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from master.scheduler.census import Carrier
from master.scheduler.framework import MAX_SCORE, Codes, Event, FilterPlugin, Refusal, Rows, Scope, ScorePlugin, Scores
from master.scheduler.shape import PodShape, Term
from master.scheduler.snapshot import Ints, Snapshot
from master.scheduler.topology import per_domain

_AFFINITY, _ANTI_AFFINITY, _EXISTING = 1, 2, 3
_WORDS = {
    _AFFINITY: "node(s) didn't match pod affinity rules",
    _ANTI_AFFINITY: "node(s) didn't match pod anti-affinity rules",
    _EXISTING: "node(s) didn't satisfy existing pods anti-affinity rules",
}


def _counts(terms: tuple[Term, ...], snapshot: Snapshot) -> Ints:
    """Pods that match all ``terms``, by row."""

    def matches(namespace: str, labels: object) -> bool:
        known = snapshot.namespaces.get(namespace, {})
        return all(t.matches(namespace, labels, known) for t in terms)  # type: ignore[arg-type]

    return snapshot.census.counts(tuple(t.key for t in terms), matches, with_leaving=True)


def _weighing(shape: PodShape, snapshot: Snapshot, *, strict: bool) -> Iterator[Carrier]:
    found = snapshot.census.weighing_on(shape, snapshot.namespaces.get(shape.namespace, {}))
    return (carrier for carrier in found if (carrier.weight == 0) is strict)


def _affinity(shape: PodShape, snapshot: Snapshot) -> Codes:
    """Every term must have a matching pod in the node's domain; the first of a group that matches itself is let in."""
    counts = _counts(shape.affinity, snapshot)
    labelled = np.all([snapshot.label(t.topology_key).ids >= 0 for t in shape.affinity], axis=0)
    sums = [per_domain(counts, snapshot, t.topology_key) for t in shape.affinity]
    known = snapshot.namespaces.get(shape.namespace, {})
    if not any(s.any() for s in sums) and all(t.matches(shape.namespace, shape.labels, known) for t in shape.affinity):
        return np.where(labelled, 0, 1)
    return np.where(labelled & np.all([s > 0 for s in sums], axis=0), 0, 1)


class InterPodAffinity(FilterPlugin, ScorePlugin):
    name = "InterPodAffinity"
    scope = Scope.CLUSTER
    wakes: ClassVar[frozenset[Event]] = frozenset(Event) - {Event.NODE_ALLOCATABLE, Event.CLAIM_CHANGED}
    weight = 2
    normalized = True

    def relevant(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return bool(shape.affinity or shape.anti_affinity or any(_weighing(shape, snapshot, strict=True)))

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        codes = np.zeros(snapshot.capacity, np.int64)
        for carrier in _weighing(shape, snapshot, strict=True):
            codes[per_domain(carrier.counts, snapshot, carrier.term.topology_key) > 0] = _EXISTING
        for term in shape.anti_affinity:
            codes[per_domain(_counts((term,), snapshot), snapshot, term.topology_key) > 0] = _ANTI_AFFINITY
        if shape.affinity:
            codes[_affinity(shape, snapshot) > 0] = _AFFINITY
        return codes[rows]

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        return (_WORDS[code],)

    def resolvable(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> bool:
        return code != _AFFINITY

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        terms = {_AFFINITY: shape.affinity, _ANTI_AFFINITY: shape.anti_affinity}.get(code)
        if terms is None:
            terms = tuple(c.term for c in _weighing(shape, snapshot, strict=True))
        detail = "; ".join(f"pods {t.selector} per {t.topology_key}" for t in terms)
        move = "put such a pod into" if code == _AFFINITY else "move such pods out of"
        return Refusal((_WORDS[code],), detail, f"{move} the node's domain, or make the rule preferred")

    def scores(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return bool(shape.preferences) or any(_weighing(shape, snapshot, strict=False))

    def score(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Scores:
        total = np.zeros(snapshot.capacity, np.int64)
        for weight, term in shape.preferences:
            total += weight * per_domain(_counts((term,), snapshot), snapshot, term.topology_key)
        for carrier in _weighing(shape, snapshot, strict=False):
            total += carrier.weight * per_domain(carrier.counts, snapshot, carrier.term.topology_key)
        return total[rows]

    def normalize(self, shape: PodShape, snapshot: Snapshot, rows: Rows, raw: Scores) -> Scores:
        low, high = raw.min(), raw.max()
        return (raw - low) * MAX_SCORE // max(high - low, 1)  # type: ignore[no-any-return]
