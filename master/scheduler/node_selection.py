"""Which nodes a node selector matches: the requirements of node affinity over all rows at once.

Source: k8s.io/component-helpers/scheduling/corev1/nodeaffinity.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from master.scheduler.columns import LabelColumn
from master.scheduler.framework import Rows
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot

Mask = NDArray[np.bool_]


def required(shape: PodShape, snapshot: Snapshot, rows: Rows) -> Mask:
    """Which rows satisfy the pod's nodeSelector and required affinity."""
    ok = np.ones(snapshot.capacity, np.bool_)[rows]
    for key, value in shape.node_selector.items():
        ok &= _one_of(snapshot.label(key), [value], rows)
    if shape.node_terms is not None:
        ok &= np.any([matches(term, snapshot, rows) for term in shape.node_terms] or [~ok], axis=0)
    return ok


def matches(term: dict[str, Any], snapshot: Snapshot, rows: Rows) -> Mask:
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
