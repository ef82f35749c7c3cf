"""Which taints a pod tolerates. Source: core/v1 ``Toleration.ToleratesTaint``."""

from typing import Any

import numpy as np

from master.scheduler.columns import Taint
from master.scheduler.framework import Codes
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot

Tolerations = tuple[dict[str, Any], ...]
_STRICT = ("NoSchedule", "NoExecute")


def tolerates(tolerations: Tolerations, taint: Taint) -> bool:
    """Whether any toleration covers the taint (core/v1 ``ToleratesTaint``)."""
    return any(_covers(toleration, taint) for toleration in tolerations)


def _covers(toleration: dict[str, Any], taint: Taint) -> bool:
    key, value, effect = taint
    if toleration.get("effect") and toleration["effect"] != effect:
        return False
    if toleration.get("key") and toleration["key"] != key:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == value


def untolerated(shape: PodShape, taints: tuple[Taint, ...]) -> Taint | None:
    """The first taint that keeps the pod away."""
    return next((t for t in taints if t[2] in _STRICT and not tolerates(shape.tolerations, t)), None)


def repels(shape: PodShape, snapshot: Snapshot) -> Codes:
    """By taint set: whether it keeps the pod away."""
    return np.array([untolerated(shape, taints) is not None for taints in snapshot.taint_sets], np.int64)
