"""Validation of what is asked of a running container: probes and lifecycle hooks.

Source: ``k8s.io/kubernetes/pkg/apis/core/validation/validation.go``.
"""

from typing import Any

from apimachinery import validation
from apimachinery.errors import Cause

from .causes import Causes, each_invalid, forbidden, invalid, non_negative, required

Object = dict[str, Any]

_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def validate_probes(container: Object, field: str) -> Causes:
    causes: list[Cause] = []
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is None:
            continue
        place = f"{field}.{name}"
        causes += _handler(probe, place)
        for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
            causes += non_negative(f"{place}.{key}", probe.get(key))
        if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            causes.append(invalid(f"{place}.successThreshold", probe["successThreshold"], "must be 1"))
    return causes


def _handler(handler: Object, field: str) -> Causes:
    kinds = [k for k in _HANDLERS if handler.get(k) is not None]
    if not kinds:
        return [required(field, "must specify a handler type")]
    if len(kinds) > 1:
        return [forbidden(f"{field}.{kinds[1]}", "may not specify more than 1 handler type")]
    action = handler[kinds[0]]
    if kinds[0] == "exec" and not action.get("command"):
        return [required(f"{field}.exec.command")]
    return _port(action.get("port"), f"{field}.{kinds[0]}.port") if kinds[0] not in ("exec", "sleep") else []


def _port(port: Any, field: str) -> Causes:
    if isinstance(port, str):
        return each_invalid(field, port, validation.port_name(port))
    return each_invalid(field, port or 0, validation.port_number(port or 0))


def validate_lifecycle(lifecycle: Object, field: str) -> Causes:
    return [
        cause
        for name in ("postStart", "preStop")
        if lifecycle.get(name) is not None
        for cause in _handler(lifecycle[name], f"{field}.{name}")
    ]
