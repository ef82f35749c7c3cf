"""Dynamic resource allocation: devices, classes of them, and claims.

Source: ``k8s.io/kubernetes/pkg/apis/resource/validation/validation.go``; KEP-4381.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from apimachinery import validation
from apimachinery.errors import Cause

from ..strategy import Strategy
from .causes import Causes, at_most, duplicate, each_invalid, forbidden, immutable, invalid, one_of, required
from .pod_defaults import set_default
from .printing import AGE, NAME, at, text

Object = dict[str, Any]

_MODES = ("All", "ExactCount")
_MAX_ITEMS = 32
"""Of a claim's requests, constraints and configurations, and of a request's selectors."""
_MAX_CONSUMERS = 256
_MAX_DEVICES = 128
_MAX_ATTRIBUTES = 32
_REQUEST_REF = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"


class ResourceClaimStrategy(Strategy):
    status_metadata = ()
    has_generation = False
    status_zeros = {}
    columns = (NAME, text("State", lambda c: _claim_state(c), "A summary of the current state."), AGE)

    def default(self, obj: Object) -> None:
        default_claim_spec(obj.get("spec") or {})

    def validate(self, obj: Object) -> Causes:
        return validate_claim_spec(obj.get("spec") or {}, "spec")

    def validate_update(self, obj: Object, old: Object) -> Causes:
        spec = obj.get("spec")
        return [] if spec == old.get("spec") else [immutable("spec", spec)]

    def validate_status(self, obj: Object, old: Object) -> Causes:
        status, before = obj.get("status") or {}, old.get("status") or {}
        users, field = status.get("reservedFor") or (), "status.reservedFor"
        causes = at_most(field, users, _MAX_CONSUMERS)
        for index, user in enumerate(users):
            causes += [required(f"{field}[{index}].{k}") for k in ("resource", "name", "uid") if not user.get(k)]
        if users and status.get("allocation") is None:
            causes.append(forbidden(field, "may not be specified when `allocated` is not set"))
        if None not in (status.get("allocation"), before.get("allocation")):
            if status["allocation"] != before["allocation"]:
                causes.append(immutable("status.allocation", status["allocation"]))
        elif status.get("allocation") is not None:
            names = set(_request_names(obj.get("spec") or {}))
            for index, result in enumerate(at(status, "allocation.devices.results", ())):
                spot = f"status.allocation.devices.results[{index}]"
                causes += [required(f"{spot}.{k}") for k in ("driver", "pool", "device") if not result.get(k)]
                if result.get("request") not in names:
                    causes.append(invalid(f"{spot}.request", result.get("request", ""), _REQUEST_REF))
        return causes


class DeviceClassStrategy(Strategy):
    columns = (NAME, AGE)

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        return _selectors(spec.get("selectors"), "spec.selectors") + _configs(spec.get("config"), None, "spec.config")


class ResourceClaimTemplateStrategy(Strategy):
    has_generation = False
    columns = (NAME, AGE)

    def default(self, obj: Object) -> None:
        default_claim_spec(at(obj, "spec.spec", {}))

    def validate(self, obj: Object) -> Causes:
        return validate_claim_spec(at(obj, "spec.spec", {}), "spec.spec")

    def validate_update(self, obj: Object, old: Object) -> Causes:
        spec = obj.get("spec")
        return [] if spec == old.get("spec") else [immutable("spec", spec)]


class ResourceSliceStrategy(Strategy):
    columns = (
        NAME,
        text("Node", lambda s: at(s, "spec.nodeName", "<all nodes>" if at(s, "spec.allNodes") else "")),
        text("Driver", "spec.driver"),
        text("Pool", "spec.pool.name"),
        AGE,
    )
    field_labels = {
        "spec.nodeName": lambda s: str(at(s, "spec.nodeName", "")),
        "spec.driver": lambda s: str(at(s, "spec.driver", "")),
    }

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        causes = [required(f"spec.{key}") for key in ("driver", "pool.name") if not at(spec, key)]
        if at(spec, "pool.resourceSliceCount", 0) <= 0:
            count = at(spec, "pool.resourceSliceCount", 0)
            causes.append(invalid("spec.pool.resourceSliceCount", count, "must be greater than zero"))
        nodes = [k for k in ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection") if spec.get(k)]
        which = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
        if not nodes:
            causes.append(required("spec", which))
        elif len(nodes) > 1:
            shown = "{" + ", ".join(f"`{k}`" for k in nodes) + "}"
            causes.append(invalid("spec", shown, f"{which}, but multiple fields are set"))
        devices = spec.get("devices") or ()
        causes += at_most("spec.devices", devices, _MAX_DEVICES) + _named(devices, "spec.devices")
        for index, device in enumerate(devices):
            given = len(device.get("attributes") or ()) + len(device.get("capacity") or ())
            if given > _MAX_ATTRIBUTES:
                detail = f"the total number of attributes and capacities must not exceed {_MAX_ATTRIBUTES}"
                causes.append(invalid(f"spec.devices[{index}]", given, detail))
            for key, value in (device.get("attributes") or {}).items():
                if len(value) != 1:
                    detail = "exactly one value must be specified"
                    causes.append(invalid(f"spec.devices[{index}].attributes[{key}]", value, detail))
        return causes

    def validate_update(self, obj: Object, old: Object) -> Causes:
        fixed = ("pool.name", "driver", "nodeName", "allNodes")
        return [
            immutable(f"spec.{key}", at(obj, f"spec.{key}"))
            for key in fixed
            if at(obj, f"spec.{key}") != at(old, f"spec.{key}")
        ]


def default_claim_spec(spec: Object) -> None:
    """One device for each request that does not say how many."""
    for request in at(spec, "devices.requests", ()):
        for choice in [request.get("exactly"), *(request.get("firstAvailable") or ())]:
            if choice is None:
                continue
            set_default(choice, "allocationMode", "ExactCount")
            if choice["allocationMode"] == "ExactCount":
                set_default(choice, "count", 1)


def validate_claim_spec(spec: Object, field: str) -> Causes:
    """A claim's spec, or a template's at another ``field``."""
    devices, place = spec.get("devices") or {}, f"{field}.devices"
    requests, names = devices.get("requests") or (), set(_request_names(spec))
    causes = at_most(f"{place}.requests", requests, _MAX_ITEMS) + _named(requests, f"{place}.requests")
    for index, request in enumerate(requests):
        causes += _request(request, f"{place}.requests[{index}]")
    causes += at_most(f"{place}.constraints", devices.get("constraints"), _MAX_ITEMS)
    for index, constraint in enumerate(devices.get("constraints") or ()):
        spot = f"{place}.constraints[{index}]"
        causes += _references(constraint.get("requests") or (), names, f"{spot}.requests")
        if not constraint.get("matchAttribute") and not constraint.get("distinctAttribute"):
            causes.append(required(f"{spot}.matchAttribute"))
    return causes + _configs(devices.get("config"), names, f"{place}.config")


def _request_names(spec: Object) -> Iterator[str]:
    for request in at(spec, "devices.requests", ()):
        yield request.get("name", "")
        yield from (f"{request.get('name', '')}/{sub.get('name', '')}" for sub in request.get("firstAvailable") or ())


def _request(request: Object, field: str) -> Causes:
    choices = [k for k in ("exactly", "firstAvailable") if request.get(k)]
    if not choices:
        return [required(field, "exactly one of `exactly` or `firstAvailable` is required")]
    if len(choices) == 2:
        detail = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
        return [invalid(field, None, detail)]
    if choices == ["exactly"]:
        return _choice(request["exactly"], f"{field}.exactly")
    place, subs = f"{field}.firstAvailable", request["firstAvailable"]
    causes = at_most(place, subs, 8) + _named(subs, place)
    return causes + [c for index, sub in enumerate(subs) for c in _choice(sub, f"{place}[{index}]")]


def _choice(choice: Object, field: str) -> Causes:
    name, mode, count = choice.get("deviceClassName") or "", choice.get("allocationMode"), choice.get("count") or 0
    causes = [] if name else [required(f"{field}.deviceClassName")]
    if name:
        causes += each_invalid(f"{field}.deviceClassName", name, validation.dns_subdomain(name))
    causes += one_of(f"{field}.allocationMode", mode, _MODES, optional=False)
    if mode == "All" and count:
        detail = "must not be specified when allocationMode is 'All'"
        causes.append(invalid(f"{field}.count", count, detail))
    if mode == "ExactCount" and count <= 0:
        causes.append(invalid(f"{field}.count", count, "must be greater than zero"))
    return causes + _selectors(choice.get("selectors"), f"{field}.selectors")


def _selectors(selectors: list[Object] | None, field: str) -> Causes:
    missing = [required(f"{field}[{i}].cel") for i, s in enumerate(selectors or ()) if s.get("cel") is None]
    return at_most(field, selectors, _MAX_ITEMS) + missing


def _configs(configs: list[Object] | None, names: set[str] | None, field: str) -> Causes:
    causes = at_most(field, configs, _MAX_ITEMS)
    for index, config in enumerate(configs or ()):
        spot, opaque = f"{field}[{index}]", config.get("opaque")
        if names is not None:
            causes += _references(config.get("requests") or (), names, f"{spot}.requests")
        if opaque is None:
            causes.append(required(f"{spot}.opaque"))
        else:
            causes += [required(f"{spot}.opaque.{k}") for k in ("driver", "parameters") if opaque.get(k) is None]
    return causes


def _references(references: Iterable[str], names: set[str], field: str) -> Causes:
    return [invalid(f"{field}[{i}]", name, _REQUEST_REF) for i, name in enumerate(references) if name not in names]


def _named(items: Iterable[Object], field: str) -> Causes:
    """A set of things with names: each is a label, and unique."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, item in enumerate(items):
        name = item.get("name") or ""
        causes += each_invalid(f"{field}[{index}].name", name, validation.dns_label(name))
        if name in seen:
            causes.append(duplicate(f"{field}[{index}].name", name))
        seen.add(name)
    return causes


def _claim_state(claim: Object) -> str:
    states = []
    if at(claim, "metadata.deletionTimestamp"):
        states.append("deleted")
    if at(claim, "status.allocation") is None:
        states.append("pending")
    else:
        states.append("allocated")
        if at(claim, "status.reservedFor"):
            states.append("reserved")
    return ",".join(states)
