"""The metrics of an autoscaler and how it may react to them: checks, defaults, and the column that shows them.

Source: ``k8s.io/kubernetes/pkg/apis/autoscaling/validation/validation.go`` and ``pkg/apis/autoscaling/v2/defaults.go``.
"""

from typing import Any

from apimachinery import quantity

from .causes import Causes, forbidden, invalid, one_of, required
from .pod_defaults import set_default
from .printing import NONE, at

Object = dict[str, Any]

_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_UNKNOWN = "<unknown>"
_MAX_WINDOW_SECONDS = 3600
_MAX_PERIOD_SECONDS = 1800


def validate_metric(metric: Object, field: str) -> Causes:
    kind = metric.get("type") or ""
    if not kind:
        return [required(f"{field}.type", "must specify a metric source type")]
    causes = one_of(f"{field}.type", kind, _SOURCES)
    own = _SOURCES.get(kind)
    if own is None:
        return causes
    causes += [
        forbidden(f"{field}.{key}", "must populate the given metric source only")
        for key in _SOURCES.values()
        if key != own and metric.get(key) is not None
    ]
    source = metric.get(own)
    if source is None:
        return [*causes, required(f"{field}.{own}", "must populate information for the given metric source")]
    place = f"{field}.{own}"
    if own in ("resource", "containerResource"):
        if not source.get("name"):
            causes.append(required(f"{place}.name", "must specify a resource name"))
        if own == "containerResource" and not source.get("container"):
            causes.append(required(f"{place}.container", "must specify a container"))
    elif not at(source, "metric.name"):
        causes.append(required(f"{place}.metric.name", "must specify a metric name"))
    return causes + _target(source.get("target") or {}, own, f"{place}.target")


def _target(target: Object, source: str, field: str) -> Causes:
    if not target.get("type"):
        return [required(f"{field}.type", "must specify a metric target type")]
    if target["type"] not in ("AverageValue", "Utilization", "Value"):
        return [invalid(f"{field}.type", target["type"], "must be either Utilization, Value, or AverageValue")]
    causes: Causes = []
    utilization = target.get("averageUtilization")
    for key in ("value", "averageValue"):
        if target.get(key) is not None and quantity.parse(target[key]) <= 0:
            causes.append(invalid(f"{field}.{key}", target[key], "must be positive"))
    if utilization is not None and utilization < 1:
        causes.append(invalid(f"{field}.averageUtilization", utilization, "must be greater than 0"))
    if source in ("resource", "containerResource"):
        if utilization is None and target.get("averageValue") is None:
            detail = "must set either a target raw value or a target utilization"
            causes.append(required(f"{field}.averageUtilization", detail))
        if utilization is not None and target.get("averageValue") is not None:
            detail = "may not set both a target raw value and a target utilization"
            causes.append(forbidden(f"{field}.averageValue", detail))
    elif source == "pods" and target.get("averageValue") is None:
        causes.append(required(f"{field}.averageValue", "must specify a positive target averageValue"))
    elif target.get("value") is None and target.get("averageValue") is None:
        detail = "must set either a target value for metric or a per-pod target"
        causes.append(required(f"{field}.averageValue", detail))
    return causes


def default_behavior(behavior: Object) -> None:
    percent = {"type": "Percent", "value": 100, "periodSeconds": 15}
    up, down = (behavior.setdefault(k, {}) for k in ("scaleUp", "scaleDown"))
    up.setdefault("stabilizationWindowSeconds", 0)
    set_default(up, "policies", [{"type": "Pods", "value": 4, "periodSeconds": 15}, dict(percent)])
    set_default(down, "policies", [dict(percent)])
    for rules in (up, down):
        set_default(rules, "selectPolicy", "Max")


def validate_behavior(behavior: Object, field: str) -> Causes:
    causes: Causes = []
    for direction in ("scaleUp", "scaleDown"):
        rules, place = behavior.get(direction), f"{field}.{direction}"
        if rules is None:
            continue
        window = rules.get("stabilizationWindowSeconds")
        if window is not None and not 0 <= window <= _MAX_WINDOW_SECONDS:
            detail = f"must be greater than or equal to zero and less than or equal to {_MAX_WINDOW_SECONDS}"
            causes.append(invalid(f"{place}.stabilizationWindowSeconds", window, detail))
        causes += one_of(f"{place}.selectPolicy", rules.get("selectPolicy"), ("Disabled", "Max", "Min"))
        for index, policy in enumerate(rules.get("policies") or ()):
            spot = f"{place}.policies[{index}]"
            causes += one_of(f"{spot}.type", policy.get("type"), ("Percent", "Pods"), optional=False)
            if policy.get("value", 0) <= 0:
                causes.append(invalid(f"{spot}.value", policy.get("value", 0), "must be greater than zero"))
            if not 0 < policy.get("periodSeconds", 0) <= _MAX_PERIOD_SECONDS:
                detail = f"must be greater than zero and less than or equal to {_MAX_PERIOD_SECONDS}"
                causes.append(invalid(f"{spot}.periodSeconds", policy.get("periodSeconds", 0), detail))
    return causes


def targets(autoscaler: Object) -> str:
    """The column Targets: for each metric what is measured and what is wanted; two are shown in full."""
    current = list(at(autoscaler, "status.currentMetrics", ()))
    metrics = at(autoscaler, "spec.metrics", ())
    shown = [_shown(m, current[i] if i < len(current) else {}) for i, m in enumerate(metrics[:2])]
    more = f" + {len(metrics) - 2} more..." if len(metrics) > 2 else ""
    return ", ".join(shown) + more if shown else NONE


def _shown(metric: Object, measured: Object) -> str:
    key = _SOURCES.get(metric.get("type") or "", "")
    source, now = metric.get(key) or {}, at(measured, f"{key}.current", {})
    target = source.get("target") or {}
    label = f"{source['name']}: " if key == "resource" and source.get("name") else ""
    if target.get("averageUtilization") is not None:
        have = now.get("averageUtilization")
        return f"{label}{_UNKNOWN if have is None else f'{have}%'}/{target['averageUtilization']}%"
    if target.get("averageValue") is not None:
        average = "" if key in ("pods", "resource", "containerResource") else " (avg)"
        return f"{label}{now.get('averageValue', _UNKNOWN)}/{target['averageValue']}{average}"
    return f"{label}{now.get('value', _UNKNOWN)}/{target.get('value', '<auto>')}"
