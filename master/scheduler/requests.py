"""How much of each resource a pod asks for, as exact integers.

Units: cpu in thousandths of a core, everything else in its own base unit (bytes, pieces), each rounded up.
Source: k8s.io/component-helpers/resource ``PodRequests`` of v1.36, sidecars and pod-level requests included.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from apimachinery import quantity

Object = dict[str, Any]
Amounts = dict[str, int]

# What a container without a request counts for in scores, so that such pods do not all gather on one node.
DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024


@lru_cache(maxsize=8192)
def amount(resource: str, text: str) -> int:
    """The quantity ``text`` of ``resource`` as an integer in this module's units. Raises ValueError."""
    return quantity.milli_value(text) if resource == "cpu" else quantity.value(text)


def amounts(quantities: Mapping[str, Any] | None) -> Amounts:
    """A ResourceList as integers."""
    return {name: amount(name, str(text)) for name, text in (quantities or {}).items()}


def _add(total: Amounts, more: Amounts) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _raise(total: Amounts, at_least: Amounts) -> None:
    for name, value in at_least.items():
        total[name] = max(total.get(name, 0), value)


def _container(spec: Object, running: Mapping[str, Object]) -> Amounts:
    """A container's requests; while a resize is under way, the larger of the asked and the given."""
    out = amounts((spec.get("resources") or {}).get("requests"))
    status = running.get(spec.get("name", ""))
    if status:
        _raise(out, amounts(status.get("allocatedResources")))
        _raise(out, amounts((status.get("resources") or {}).get("requests")))
    return out


def _sum(containers: Iterable[Object], inits: Iterable[Object], of: Callable[[Object], Amounts]) -> Amounts:
    """Containers run together; init containers one after the other, beside the sidecars started before them."""
    total: Amounts = {}
    for container in containers:
        _add(total, of(container))
    sidecars: Amounts = {}
    highest: Amounts = {}
    for container in inits:
        now = dict(of(container))
        if container.get("restartPolicy") == "Always":
            _add(total, now)
            _add(sidecars, now)
            now = dict(sidecars)
        else:
            _add(now, sidecars)
        _raise(highest, now)
    _raise(total, highest)
    return total


def _with_defaults(found: Amounts) -> Amounts:
    return {"cpu": DEFAULT_MILLI_CPU, "memory": DEFAULT_MEMORY_BYTES} | found


def _pod_level(spec: Object) -> Amounts:
    return amounts((spec.get("resources") or {}).get("requests"))


def pod_requests(pod: Object) -> tuple[Amounts, tuple[int, int]]:
    """What ``pod`` needs of a node, and the (milli cpu, memory bytes) that scores count for it."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    known = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    running = {c["name"]: c for c in known if c.get("allocatedResources") or c.get("resources")}
    containers, inits = spec.get("containers") or (), spec.get("initContainers") or ()
    asked = _sum(containers, inits, lambda c: _container(c, running))
    scored = _sum(containers, inits, lambda c: _with_defaults(_container(c, running)))
    for total in (asked, scored):
        total.update(_pod_level(spec))
        _add(total, amounts(spec.get("overhead")))
    return {name: value for name, value in asked.items() if value}, (scored["cpu"], scored["memory"])
