"""LimitRanger: a namespace's defaults for containers, and its bounds for containers, pods and claims.

Source: https://kubernetes.io/docs/concepts/policy/limit-range/
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from apimachinery import quantity, quota, scheme

from ...registry.reader import Object, Reader
from ..chain import AdmissionRequest, Plugin
from ..refusal import forbidden

LIMIT_RANGES = scheme.kind_of("limitranges")
ANNOTATION = "kubernetes.io/limit-ranger"
_CONTAINERS = ("containers", "initContainers")


class LimitRanger(Plugin):
    name = "LimitRanger"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        if request.kind is scheme.PODS:
            return (request.operation, request.subresource) in (("CREATE", ""), ("UPDATE", "resize"))
        wanted = request.operation in ("CREATE", "UPDATE") and not request.subresource
        return request.kind is scheme.PERSISTENT_VOLUME_CLAIMS and wanted

    async def mutate(self, request: AdmissionRequest) -> None:
        pod = request.object
        if request.kind is not scheme.PODS or request.operation != "CREATE" or pod is None:
            return
        notes = [note for item in self._items(request.namespace, "Container") for note in apply_defaults(pod, item)]
        if notes:
            annotations = pod["metadata"].get("annotations") or {}
            text = "LimitRanger plugin set: " + "; ".join(notes)
            pod["metadata"]["annotations"] = annotations | {ANNOTATION: text}

    async def validate(self, request: AdmissionRequest) -> None:
        if request.object is None:
            return
        check = pod_problems if request.kind is scheme.PODS else claim_problems
        problems = [p for item in self._items(request.namespace) for p in check(request.object, item)]
        if problems:
            raise forbidden(request, problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")

    def _items(self, namespace: str, type_: str = "") -> Iterator[Object]:
        for limit_range in self._reader.list(LIMIT_RANGES, namespace):
            for item in (limit_range.get("spec") or {}).get("limits") or ():
                if not type_ or item.get("type") == type_:
                    yield item


def apply_defaults(pod: Object, item: Mapping[str, Any]) -> Iterator[str]:
    """Fill in a Container item's defaults in place; says what was filled in. A limit without request is its request
    (upstream's pod defaults, which ran before)."""
    defaults = {
        "limits": item.get("default") or {},
        "requests": item.get("defaultRequest") or item.get("default") or {},
    }
    spec = pod.setdefault("spec", {})
    for key in _CONTAINERS:
        for container in spec.get(key) or ():
            resources = container.get("resources") or {}
            for which in ("requests", "limits"):
                own = resources.get(which) or {}
                added = {name: text for name, text in defaults[which].items() if name not in own}
                if added:
                    resources[which] = own | added
                    what = "container" if key == "containers" else "init container"
                    yield f"{', '.join(sorted(added))} {which[:-1]} for {what} {container.get('name', '')}"
            if resources:
                container["resources"] = resources


def pod_problems(pod: Mapping[str, Any], item: Mapping[str, Any]) -> Iterator[str]:
    spec = pod.get("spec") or {}
    if item.get("type") == "Pod":
        yield from problems(item, quota.pod_amounts(spec, "requests"), quota.pod_amounts(spec, "limits"))
    elif item.get("type") == "Container":
        for container in (c for key in _CONTAINERS for c in spec.get(key) or ()):
            resources = container.get("resources") or {}
            yield from problems(item, _parsed(resources.get("requests")), _parsed(resources.get("limits")))


def claim_problems(claim: Mapping[str, Any], item: Mapping[str, Any]) -> Iterator[str]:
    if item.get("type") == "PersistentVolumeClaim":
        requests = _parsed(((claim.get("spec") or {}).get("resources") or {}).get("requests"))
        yield from problems({**item, "maxLimitRequestRatio": {}}, requests, requests)


def problems(item: Mapping[str, Any], requests: Mapping[str, Decimal], limits: Mapping[str, Decimal]) -> Iterator[str]:
    """Where requests are below the minimum, limits above the maximum, or their ratio is too large."""
    type_ = item["type"]
    for name, text in (item.get("min") or {}).items():
        least, problem = quantity.parse(text), f"minimum {name} usage per {type_} is {text}"
        if name not in requests:
            yield f"{problem}.  No request is specified"
        elif requests[name] < least:
            yield f"{problem}, but request is {quantity.format(requests[name])}"
        if name in limits and limits[name] < least:
            yield f"{problem}, but limit is {quantity.format(limits[name])}"
    for name, text in (item.get("max") or {}).items():
        most, problem = quantity.parse(text), f"maximum {name} usage per {type_} is {text}"
        if name not in limits:
            yield f"{problem}.  No limit is specified"
        elif limits[name] > most:
            yield f"{problem}, but limit is {quantity.format(limits[name])}"
        if name in requests and requests[name] > most:
            yield f"{problem}, but request is {quantity.format(requests[name])}"
    for name, text in (item.get("maxLimitRequestRatio") or {}).items():
        yield from _ratio_problems(type_, name, text, requests.get(name), limits.get(name))


def _ratio_problems(type_: str, name: str, text: str, request: Decimal | None, limit: Decimal | None) -> Iterator[str]:
    problem = f"{name} max limit to request ratio per {type_} is {text}"
    if not request or not limit:
        yield f"{problem}, but no request is specified or request is 0"
    elif limit / request > quantity.parse(text):
        yield f"{problem}, but provided ratio is {limit / request:.6f}"


def _parsed(amounts: Mapping[str, str] | None) -> dict[str, Decimal]:
    return {name: quantity.parse(text) for name, text in (amounts or {}).items()}
