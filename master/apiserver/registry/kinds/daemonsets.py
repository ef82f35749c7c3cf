"""DaemonSets."""

from typing import Any

from .causes import Causes, invalid, one_of
from .pod_defaults import set_default
from .printing import AGE, NAME, SELECTOR, at, containers, labels, number, text
from .workloads import WorkloadStrategy, int_or_percent, is_zero

Object = dict[str, Any]


class DaemonSetStrategy(WorkloadStrategy):
    noun = "daemonset"
    status_zeros = dict.fromkeys(
        ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"), 0
    )
    columns = (
        NAME,
        number("Desired", "status.desiredNumberScheduled", "Nodes that should be running the daemon pod."),
        number("Current", "status.currentNumberScheduled", "Nodes that run at least one daemon pod and should."),
        number("Ready", "status.numberReady", "Nodes that have the daemon pod running and ready."),
        number("Up-to-date", "status.updatedNumberScheduled", "Nodes that run the updated daemon pod."),
        number("Available", "status.numberAvailable", "Nodes that have the daemon pod running and available."),
        text("Node Selector", lambda d: labels(at(d, "spec.template.spec.nodeSelector"))),
        AGE,
        *containers(),
        SELECTOR,
    )

    def default_spec(self, spec: Object) -> None:
        strategy = spec.setdefault("updateStrategy", {})
        set_default(strategy, "type", "RollingUpdate")
        if strategy["type"] == "RollingUpdate":
            if strategy.get("rollingUpdate") is None:
                strategy["rollingUpdate"] = {}
            strategy["rollingUpdate"].setdefault("maxUnavailable", 1)
            strategy["rollingUpdate"].setdefault("maxSurge", 0)
        spec.setdefault("revisionHistoryLimit", 10)

    def validate_spec(self, spec: Object) -> Causes:
        strategy, field = spec.get("updateStrategy") or {}, "spec.updateStrategy"
        causes = one_of(f"{field}.type", strategy.get("type"), ("OnDelete", "RollingUpdate"), optional=False)
        rolling = strategy.get("rollingUpdate") or {}
        unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
        causes += int_or_percent(f"{field}.rollingUpdate.maxUnavailable", unavailable)
        causes += int_or_percent(f"{field}.rollingUpdate.maxSurge", surge)
        if strategy.get("type") == "RollingUpdate" and is_zero(unavailable) == is_zero(surge):
            zero = is_zero(surge)
            detail = "cannot be 0 when maxSurge is 0" if zero else "may not be set when maxUnavailable is non-zero"
            causes.append(
                invalid(
                    f"{field}.rollingUpdate.{'maxUnavailable' if zero else 'maxSurge'}",
                    unavailable if zero else surge,
                    detail,
                )
            )
        return causes
