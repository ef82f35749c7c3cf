"""autoscaling/v1 and v2 are two views of one autoscaler."""

from typing import Any

import pytest

from apimachinery.errors import BadRequest
from master.apiserver.registry.kinds.autoscaling import REST, to_v1, to_v2

TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
MEMORY = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}
NOW = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 50}}}


def v2(spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}}
    return {**made, "spec": {"scaleTargetRef": TARGET, "minReplicas": 1, "maxReplicas": 3, **spec}, **more}


def test_v1_says_the_target_in_one_field() -> None:
    shown = to_v1(v2({"metrics": [CPU]}, status={"currentReplicas": 2, "desiredReplicas": 2, "currentMetrics": [NOW]}))
    assert shown["apiVersion"] == "autoscaling/v1"
    assert shown["spec"]["targetCPUUtilizationPercentage"] == 70
    assert shown["status"] == {"currentReplicas": 2, "desiredReplicas": 2, "currentCPUUtilizationPercentage": 50}
    assert "annotations" not in shown["metadata"]


@pytest.mark.parametrize(
    "stored",
    [
        v2({"metrics": [CPU]}),
        v2({"metrics": [MEMORY]}),
        v2({"metrics": [CPU, MEMORY], "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}}),
        v2({"metrics": [CPU]}, metadata={"name": "web", "annotations": {"mine": "1"}}),
        v2({"metrics": [CPU]}, status={"currentMetrics": [NOW], "conditions": [{"type": "ScalingActive"}]}),
    ],
)
def test_what_is_read_as_v1_and_written_back_is_the_same(stored: dict[str, Any]) -> None:
    assert to_v2(to_v1(stored)) == stored


@pytest.mark.parametrize("noted", ["{", "[]", '{"spec": {"metrics": "none"}}'])
def test_a_broken_annotation_is_refused(noted: str) -> None:
    with pytest.raises(BadRequest, match="annotation"):
        to_v2({"metadata": {"annotations": {REST: noted}}, "spec": {}})


def test_the_annotation_cannot_override_what_v1_has() -> None:
    noted = {"annotations": {REST: '{"spec": {"maxReplicas": 99}}'}}
    assert to_v2({"metadata": noted, "spec": {"maxReplicas": 3}})["spec"]["maxReplicas"] == 3
