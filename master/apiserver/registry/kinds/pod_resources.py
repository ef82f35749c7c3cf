"""A pod's QoS class, and what ``pods/resize`` may change: amounts of CPU and memory, within that class.

Source: ``ValidatePodResize`` in ``pkg/apis/core/validation``.
"""

from collections.abc import Iterator
from typing import Any

from apimachinery import quantity

from .causes import Causes, forbidden, invalid
from .printing import at

Object = dict[str, Any]

_COMPUTE = ("cpu", "memory")


def qos_class(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort, from the cpu and memory of all containers.

    Source: ``k8s.io/kubernetes/pkg/apis/core/v1/helper/qos/qos.go``.
    """
    spec = pod.get("spec") or {}
    level = spec.get("resources")
    holders = [spec] if level else [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    guaranteed, any_set = True, False
    for holder in holders:
        resources = holder.get("resources") or {}
        requests, limits = (_compute(resources.get(k)) for k in ("requests", "limits"))
        any_set = any_set or bool(requests or limits)
        guaranteed = (
            guaranteed and set(limits) == set(_COMPUTE) and all(requests.get(k, v) == v for k, v in limits.items())
        )
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _compute(amounts: Object | None) -> dict[str, Any]:
    parsed = {k: quantity.parse(v) for k, v in (amounts or {}).items() if k in _COMPUTE}
    return {k: v for k, v in parsed.items() if v > 0}


def validate_resize(obj: Object, old: Object) -> Causes:
    """``obj`` differs from ``old`` in its own and its containers' ``resources`` and in ``resizePolicy`` only."""
    causes: Causes = []
    if at(obj, "spec.resources") and not at(old, "spec.resources"):
        return [forbidden("spec.resources", "a pod without resources of its own cannot be given any")]
    causes += _container(obj["spec"], old["spec"], "spec")
    if qos_class(obj) != at(old, "status.qosClass", qos_class(old)):
        causes.append(invalid("spec", qos_class(obj), "Pod QOS Class may not change as a result of resizing"))
    for part in ("initContainers", "containers"):
        before = {c["name"]: c for c in old["spec"].get(part) or ()}
        for index, container in enumerate(obj["spec"].get(part) or ()):
            causes += _container(container, before[container["name"]], f"spec.{part}[{index}]")
    return causes


def _container(new: Object, old: Object, field: str) -> Iterator[Any]:
    for kind in ("requests", "limits"):
        now, was = at(new, f"resources.{kind}", {}), at(old, f"resources.{kind}", {})
        changed = {n for n in {*now, *was} if _amount(now, n) != _amount(was, n)}
        if changed - set(_COMPUTE):
            yield forbidden(f"{field}.resources.{kind}", "only cpu and memory resources are mutable")
        elif removed := sorted(was.keys() - now.keys()):
            yield forbidden(f"{field}.resources.{kind}", f"resource {kind} cannot be removed: {', '.join(removed)}")
    if at(new, "resources.claims", []) != at(old, "resources.claims", []):
        yield forbidden(f"{field}.resources.claims", "resource claims cannot be changed")
    resized = new.get("resources") != old.get("resources")
    if field.startswith("spec.init") and resized and old.get("restartPolicy") != "Always":
        yield forbidden(f"{field}.resources", "only sidecar init containers may be resized")


def _amount(amounts: Object, name: str) -> object:
    return quantity.parse(amounts[name]) if name in amounts else None
