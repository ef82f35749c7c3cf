"""NodeAffinity: nodeSelector, required and preferred node affinity, by labels and by name."""

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from master.scheduler.columns import LabelColumn
from master.scheduler.framework import Codes, Event, FilterPlugin, Refusal, Rows, ScorePlugin, Scores, normalize_by_max
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot

Mask = NDArray[np.bool_]
_OTHER_NODE = 2


def required(shape: PodShape, snapshot: Snapshot, rows: Rows) -> Mask:
    """Which rows satisfy the pod's nodeSelector and required affinity."""
    ok = np.ones(snapshot.capacity, np.bool_)[rows]
    for key, value in shape.node_selector.items():
        ok &= _one_of(snapshot.label(key), [value], rows)
    if shape.node_terms is not None:
        ok &= np.any([_matches(term, snapshot, rows) for term in shape.node_terms] or [~ok], axis=0)
    return ok


def _matches(term: dict[str, Any], snapshot: Snapshot, rows: Rows) -> Mask:
    """A term joins its requirements by "and"; an empty term matches nothing."""
    parts = [_label(r, snapshot.label(r["key"]), rows) for r in term.get("matchExpressions") or ()]
    parts += [_name(r, snapshot, rows) for r in term.get("matchFields") or ()]
    met: Mask = np.all(parts, axis=0) if parts else np.zeros(snapshot.capacity, np.bool_)[rows]
    return met


def _one_of(column: LabelColumn, values: Iterable[str], rows: Rows) -> Mask:
    return np.isin(column.ids[rows], [column.id_of(v) for v in values])


def _flip(mask: Mask, negated: bool) -> Mask:
    return ~mask if negated else mask


def _label(requirement: dict[str, Any], column: LabelColumn, rows: Rows) -> Mask:
    operator, values = requirement["operator"], requirement.get("values") or []
    if operator in ("In", "NotIn"):
        return _flip(_one_of(column, values, rows), operator == "NotIn")
    if operator in ("Exists", "DoesNotExist"):
        return _flip(column.ids[rows] >= 0, operator == "DoesNotExist")
    limit = int(values[0])
    table = [_is_beyond(value, limit, operator) for value in column.values]
    return np.array([*table, False])[column.ids[rows]]  # ABSENT (-1) finds the last entry


def _is_beyond(value: str, limit: int, operator: str) -> bool:
    try:
        number = int(value)
    except ValueError:
        return False
    return number > limit if operator == "Gt" else number < limit


def _name(requirement: dict[str, Any], snapshot: Snapshot, rows: Rows) -> Mask:
    wanted = [snapshot.rows[name] for name in requirement.get("values") or () if name in snapshot.rows]
    return _flip(np.isin(np.arange(snapshot.capacity)[rows], wanted), requirement["operator"] == "NotIn")


def _by_name_only(shape: PodShape) -> bool:
    """Whether every required term names its nodes, as the pods of a DaemonSet do."""
    return bool(shape.node_terms) and all(
        any(r["operator"] == "In" for r in term.get("matchFields") or ()) for term in shape.node_terms or ()
    )


class NodeAffinity(FilterPlugin, ScorePlugin):
    name = "NodeAffinity"
    wakes: ClassVar[frozenset[Event]] = frozenset({Event.NODE_ADDED, Event.NODE_LABELS})
    weight = 2
    normalized = True

    def relevant(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return bool(shape.node_selector) or shape.node_terms is not None

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        return np.where(required(shape, snapshot, rows), 0, _OTHER_NODE if _by_name_only(shape) else 1)

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        if code == _OTHER_NODE:  # upstream leaves these nodes out before filtering and says so
            return ("node(s) didn't satisfy plugin(s) [NodeAffinity]",)
        return ("node(s) didn't match Pod's node affinity/selector",)

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        node = snapshot.nodes[row] or {"metadata": {}}
        labels = node["metadata"].get("labels") or {}
        missing = [f"{k}={v}" for k, v in shape.node_selector.items() if labels.get(k) != v]
        reasons = self.reasons(shape, snapshot, row, code)
        if not missing:
            return Refusal(reasons, "no term of the required node affinity matches", "label the node to match a term")
        detail = f"the node lacks {', '.join(missing)}"
        return Refusal(reasons, detail, f"kubectl label node {snapshot.names[row]} {' '.join(missing)}")

    def scores(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return bool(shape.node_preferences)

    def score(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Scores:
        total = np.zeros(snapshot.capacity, np.int64)[rows]
        for preference in shape.node_preferences:
            total += int(preference["weight"]) * _matches(preference["preference"], snapshot, rows)
        return total

    def normalize(self, shape: PodShape, snapshot: Snapshot, rows: Rows, raw: Scores) -> Scores:
        return normalize_by_max(raw)
