"""Deployments and ReplicaSets."""

from typing import Any

from .causes import Causes, forbidden, invalid, one_of
from .pod_defaults import set_default
from .printing import AGE, NAME, SELECTOR, at, containers, number, text
from .workloads import WorkloadStrategy, int_or_percent, is_zero

Object = dict[str, Any]


class DeploymentStrategy(WorkloadStrategy):
    status_metadata = ("annotations",)
    status_zeros = {}
    columns = (
        NAME,
        text(
            "Ready",
            lambda d: f"{at(d, 'status.readyReplicas', 0)}/{at(d, 'spec.replicas', 0)}",
            "Number of the pod with ready state",
        ),
        text("Up-to-date", lambda d: at(d, "status.updatedReplicas", 0)),
        text("Available", lambda d: at(d, "status.availableReplicas", 0)),
        AGE,
        *containers(),
        SELECTOR,
    )

    def default_spec(self, spec: Object) -> None:
        spec.setdefault("replicas", 1)
        strategy = spec.setdefault("strategy", {})
        set_default(strategy, "type", "RollingUpdate")
        if strategy["type"] == "RollingUpdate":
            if strategy.get("rollingUpdate") is None:
                strategy["rollingUpdate"] = {}
            strategy["rollingUpdate"].setdefault("maxUnavailable", "25%")
            strategy["rollingUpdate"].setdefault("maxSurge", "25%")
        spec.setdefault("revisionHistoryLimit", 10)
        spec.setdefault("progressDeadlineSeconds", 600)

    def validate_spec(self, spec: Object) -> Causes:
        causes = _strategy(spec.get("strategy") or {}, "spec.strategy")
        deadline, ready = spec.get("progressDeadlineSeconds", 600), spec.get("minReadySeconds") or 0
        if deadline <= ready:
            causes.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
        return causes


def _strategy(strategy: Object, field: str) -> Causes:
    causes = one_of(f"{field}.type", strategy.get("type"), ("Recreate", "RollingUpdate"), optional=False)
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate" and rolling is not None:
        detail = "may not be specified when strategy `type` is 'Recreate'"
        return [*causes, forbidden(f"{field}.rollingUpdate", detail)]
    if rolling is None:
        return causes
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    causes += int_or_percent(f"{field}.rollingUpdate.maxUnavailable", unavailable)
    causes += int_or_percent(f"{field}.rollingUpdate.maxSurge", surge, limited=False)
    if is_zero(unavailable) and is_zero(surge):
        detail = "may not be 0 when `maxSurge` is 0"
        causes.append(invalid(f"{field}.rollingUpdate.maxUnavailable", unavailable, detail))
    return causes


class ReplicaSetStrategy(WorkloadStrategy):
    status_zeros = {"replicas": 0}
    columns = (
        NAME,
        number("Desired", "spec.replicas", "Replicas is the number of desired replicas."),
        number("Current", "status.replicas", "Replicas is the most recently observed number of replicas."),
        number(
            "Ready", "status.readyReplicas", "The number of pods targeted by this ReplicaSet with a Ready Condition."
        ),
        AGE,
        *containers(),
        SELECTOR,
    )
    field_labels = {"status.replicas": lambda obj: str(at(obj, "status.replicas", 0))}

    def default_spec(self, spec: Object) -> None:
        spec.setdefault("replicas", 1)
