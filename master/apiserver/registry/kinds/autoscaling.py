"""Autoscalers, in two versions of which ``v2`` is stored, and the Scale of what they scale.

``autoscaling/v1`` has a target for CPU only. What else an autoscaler has it carries in one annotation, so that a client
of v1 who writes back what it read loses nothing. (Upstream spreads the same over four annotations, in older forms.)

Source: ``k8s.io/kubernetes/pkg/apis/autoscaling/v1/conversion.go``.
"""

from typing import Any

import orjson

from apimachinery import schema
from apimachinery.errors import BadRequest
from apimachinery.scheme import AUTOSCALING

from ..strategy import Strategy
from .autoscaling_metrics import default_behavior, targets, validate_behavior, validate_metric
from .causes import Causes, invalid, required
from .pod_defaults import set_default
from .printing import AGE, NAME, at, number, text

Object = dict[str, Any]

REST = "kubeto.dev/autoscaling-v2"
"""The annotation of a v1 autoscaler with the parts of spec and status that v1 has no fields for."""
(_V2,) = AUTOSCALING
_V1_SPEC = ("scaleTargetRef", "minReplicas", "maxReplicas")
_V1_STATUS = ("observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas")


class ScaleStrategy(Strategy):
    """``autoscaling/v1`` Scale: how a workload's scale subresource is shown."""

    columns = (
        NAME,
        number("Desired", "spec.replicas", "desired number of instances for the scaled object."),
        number("Available", "status.replicas", "actual number of observed instances of the scaled object."),
        AGE,
    )


class HorizontalPodAutoscalerStrategy(Strategy):
    has_generation = False
    status_zeros = {"desiredReplicas": 0}
    columns = (
        NAME,
        text("Reference", lambda h: f"{at(h, 'spec.scaleTargetRef.kind')}/{at(h, 'spec.scaleTargetRef.name')}"),
        text("Targets", targets),
        text("MinPods", lambda h: str(at(h, "spec.minReplicas", "<unset>"))),
        number("MaxPods", "spec.maxReplicas"),
        number("Replicas", "status.currentReplicas"),
        AGE,
    )

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("minReplicas", 1)
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
        set_default(spec, "metrics", [{"type": "Resource", "resource": cpu}])
        if spec.get("behavior") is not None:
            default_behavior(spec["behavior"])

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        low, high = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
        causes = [] if high >= 1 else [invalid("spec.maxReplicas", high, "must be greater than 0")]
        if low < 1:
            causes.append(invalid("spec.minReplicas", low, "must be greater than or equal to 1"))
        if high < low:
            causes.append(invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`"))
        missing = [k for k in ("kind", "name") if not at(spec, f"scaleTargetRef.{k}")]
        causes += [required(f"spec.scaleTargetRef.{k}") for k in missing]
        for index, metric in enumerate(spec.get("metrics") or ()):
            causes += validate_metric(metric, f"spec.metrics[{index}]")
        return causes + validate_behavior(spec.get("behavior") or {}, "spec.behavior")


class HorizontalPodAutoscalerV1Strategy(HorizontalPodAutoscalerStrategy):
    """The autoscaling/v1 view of the same autoscalers."""

    second_view = True

    def to_stored(self, obj: Object) -> None:
        made = to_v2(obj)
        obj.clear()
        obj.update(made)

    def shown(self, obj: Object) -> Object:
        return to_v1(obj) if obj.get("kind") == self.kind.kind else obj


def to_v2(autoscaler: Object) -> Object:
    """A v1 autoscaler as v2. Raises BadRequest if the annotation with the rest holds none."""
    metadata, rest = _without_rest(autoscaler.get("metadata") or {})
    spec = dict(autoscaler.get("spec") or {})
    target = spec.pop("targetCPUUtilizationPercentage", None)
    cpu = [] if target is None else [_cpu_metric({"target": {"type": "Utilization", "averageUtilization": target}})]
    spec |= _some({**rest["spec"], "metrics": cpu + rest["spec"].get("metrics", [])})
    made = {**autoscaler, "apiVersion": "autoscaling/v2", "metadata": metadata, "spec": spec}
    if "status" in autoscaler:
        status = dict(autoscaler["status"])
        now = status.pop("currentCPUUtilizationPercentage", None)
        known = [] if now is None else [_cpu_metric({"current": {"averageUtilization": now}})]
        status |= _some({**rest["status"], "currentMetrics": known + rest["status"].get("currentMetrics", [])})
        made["status"] = status
    return made


def to_v1(autoscaler: Object) -> Object:
    """A stored autoscaler as v1."""
    spec, status = autoscaler.get("spec") or {}, autoscaler.get("status") or {}
    target = next((m for m in spec.get("metrics") or () if _is_cpu(m, "target")), None)
    now = next((m for m in status.get("currentMetrics") or () if _is_cpu(m, "current")), None)
    others = [m for m in spec.get("metrics") or () if m is not target]
    measured = [m for m in status.get("currentMetrics") or () if m is not now]
    rest = _some(
        {
            "spec": _some({k: v for k, v in spec.items() if k not in _V1_SPEC} | {"metrics": others}),
            "status": _some({k: v for k, v in status.items() if k not in _V1_STATUS} | {"currentMetrics": measured}),
        }
    )
    made = {**autoscaler, "apiVersion": "autoscaling/v1", "spec": {k: spec[k] for k in _V1_SPEC if k in spec}}
    if target:
        made["spec"]["targetCPUUtilizationPercentage"] = at(target, "resource.target.averageUtilization")
    if "status" in autoscaler:
        made["status"] = {k: status[k] for k in _V1_STATUS if k in status}
        if now:
            made["status"]["currentCPUUtilizationPercentage"] = at(now, "resource.current.averageUtilization")
    if rest:
        noted = {**(at(autoscaler, "metadata.annotations") or {}), REST: orjson.dumps(rest).decode()}
        made["metadata"] = {**autoscaler["metadata"], "annotations": noted}
    return made


def _without_rest(metadata: Object) -> tuple[Object, Object]:
    """Metadata as it is stored, and what the annotation held. Raises BadRequest."""
    annotations = dict(metadata.get("annotations") or {})
    rest = _rest(annotations.pop(REST, "{}"))
    kept = {k: v for k, v in metadata.items() if k != "annotations"}
    return kept | _some({"annotations": annotations}), rest


def _rest(text: str) -> Object:
    """``spec`` and ``status`` of v2 without what v1 has, checked as v2. Raises BadRequest."""
    try:
        rest = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"annotation {REST} is not JSON: {error}") from error
    if not isinstance(rest, dict):
        raise BadRequest(f"annotation {REST} is not an object")
    for problem in schema.load().check(_V2, rest):
        if problem.form == "type":
            raise BadRequest(f"annotation {REST} is not of autoscaling/v2: {problem.message}")
    known = {"spec": _V1_SPEC, "status": _V1_STATUS}
    return {p: {k: v for k, v in rest.get(p, {}).items() if k not in has} for p, has in known.items()}


def _cpu_metric(values: Object) -> Object:
    return {"type": "Resource", "resource": {"name": "cpu", **values}}


def _is_cpu(metric: Object, part: str) -> bool:
    return at(metric, "resource.name") == "cpu" and at(metric, f"resource.{part}.averageUtilization") is not None


def _some(parts: Object) -> Object:
    """Without what is empty."""
    return {k: v for k, v in parts.items() if v not in ({}, [], None)}
