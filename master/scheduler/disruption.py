"""Which pods may not be deleted without breaking a PodDisruptionBudget."""

from collections import Counter

from apimachinery.selectors import from_object
from master.scheduler.shape import Key
from master.scheduler.snapshot import Placement, Snapshot


def violating(snapshot: Snapshot, pods: list[tuple[Key, Placement]]) -> set[Key]:
    """The pods whose deletion some PodDisruptionBudget does not allow."""
    out, spent = set(), Counter[Key]()
    for key, placement in pods:
        for budget_key, budget in snapshot.budgets.items():
            status = budget.get("status") or {}
            if budget_key[0] != key[0] or not placement.shape.labels or key[1] in (status.get("disruptedPods") or {}):
                continue
            if from_object((budget.get("spec") or {}).get("selector")).matches(placement.shape.labels):
                spent[budget_key] += 1
                if spent[budget_key] > int(status.get("disruptionsAllowed") or 0):
                    out.add(key)
    return out
