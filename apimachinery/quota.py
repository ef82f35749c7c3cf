"""What an object uses up of a ResourceQuota, and which quotas it falls under. Pure.

Amounts are exact Decimals, keyed as in ``spec.hard``. Admission charges by these; a controller that recomputes
``status.used`` calls them too.

Source: ``k8s.io/kubernetes/pkg/quota/v1/evaluator/core``; https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from apimachinery import pods, quantity, scheme
from apimachinery.persistent_volumes import attributes_classes_of
from apimachinery.scheme import Kind

Object = dict[str, Any]
Usage = dict[str, Decimal]
ZERO, ONE = Decimal(0), Decimal(1)
_COUNTED_BY_NAME = frozenset(
    ("configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas", "secrets", "services")
)
_PLAIN = frozenset(("cpu", "memory", "ephemeral-storage"))
_STORAGE_CLASS = ".storageclass.storage.k8s.io/"
_DEVICES = ".deviceclass.resource.k8s.io/devices"
_MOST_DEVICES = Decimal(32)
"""What one allocation may hold (``AllocationResultsMaxSize``): the worst that a request for all devices can take."""
RESOURCE_CLAIMS = scheme.kind_of("resourceclaims", "resource.k8s.io")


def usage(kind: Kind, obj: Mapping[str, Any]) -> Usage:
    """What ``obj`` uses. A pod that has ended, or is past its deletion's grace, uses nothing but its object."""
    used: Usage = {f"count/{kind.group_resource}": ONE}
    if kind.group == "" and kind.resource in _COUNTED_BY_NAME:
        used[kind.resource] = ONE
    if kind is scheme.PODS:
        used |= _pod_usage(obj)
    elif kind is scheme.SERVICES:
        used |= _service_usage(obj.get("spec") or {})
    elif kind is scheme.PERSISTENT_VOLUME_CLAIMS:
        used |= _claim_usage(obj.get("spec") or {})
    elif kind is RESOURCE_CLAIMS:
        used |= _device_usage(obj.get("spec") or {})
    return used


def _pod_usage(pod: Mapping[str, Any]) -> Usage:
    if pods.is_finished(pod):
        return {}
    used: Usage = {"pods": ONE}
    spec = pod.get("spec") or {}
    for name, amount in pod_amounts(spec, "requests").items():
        if name in _PLAIN or name.startswith("hugepages-"):
            used[name] = amount
        used[f"requests.{name}"] = amount
    return used | {f"limits.{name}": amount for name, amount in pod_amounts(spec, "limits").items()}


def pod_amounts(spec: Mapping[str, Any], which: str) -> Usage:
    """The pod's ``requests`` or ``limits``: its containers and sidecars together, or the largest init step, and
    the overhead. ``spec.resources`` (pod level) takes precedence where it names a resource."""
    running = _sum(_amounts(c, which) for c in spec.get("containers") or ())
    sidecars, peak = Usage(), Usage()
    for container in spec.get("initContainers") or ():
        amounts = _amounts(container, which)
        if container.get("restartPolicy") == "Always":
            sidecars = _sum((sidecars, amounts))
            peak = _largest(peak, sidecars)
        else:
            peak = _largest(peak, _sum((sidecars, amounts)))
    total = _largest(_sum((running, sidecars)), peak) | _amounts(spec, which)
    overhead = {name: quantity.parse(text) for name, text in (spec.get("overhead") or {}).items()}
    return _sum((total, {n: a for n, a in overhead.items() if which == "requests" or n in total}))


def _amounts(container: Mapping[str, Any], which: str) -> Usage:
    resources = container.get("resources") or {}
    return {name: quantity.parse(text) for name, text in (resources.get(which) or {}).items()}


def _sum(parts: Iterable[Mapping[str, Decimal]]) -> Usage:
    total: Usage = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, ZERO) + amount
    return total


def _largest(one: Usage, other: Usage) -> Usage:
    return {name: max(one.get(name, ZERO), other.get(name, ZERO)) for name in one.keys() | other.keys()}


def _service_usage(spec: Mapping[str, Any]) -> Usage:
    used: Usage = {"services.nodeports": ZERO, "services.loadbalancers": ZERO}
    ports = spec.get("ports") or ()
    if spec.get("type") == "NodePort":
        used["services.nodeports"] = Decimal(len(ports))
    elif spec.get("type") == "LoadBalancer":
        used["services.loadbalancers"] = ONE
        allocated = spec.get("allocateLoadBalancerNodePorts") is not False
        used["services.nodeports"] = Decimal(len(ports) if allocated else sum(bool(p.get("nodePort")) for p in ports))
    return used


def _claim_usage(spec: Mapping[str, Any]) -> Usage:
    text = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")
    used: Usage = {"requests.storage": quantity.parse(text)}
    if storage_class := spec.get("storageClassName"):
        used[f"{storage_class}{_STORAGE_CLASS}requests.storage"] = used["requests.storage"]
        used[f"{storage_class}{_STORAGE_CLASS}persistentvolumeclaims"] = ONE
    return used


def _device_usage(spec: Mapping[str, Any]) -> Usage:
    """Devices by class: of alternatives, the most that any one takes of each class."""
    wanted = []
    for request in (spec.get("devices") or {}).get("requests") or ():
        most: Usage = {}
        for one in request.get("firstAvailable") or [request.get("exactly") or {}]:
            most = _largest(most, _devices(one))
        wanted.append(most)
    return _sum(wanted)


def _devices(request: Mapping[str, Any]) -> Usage:
    everything = request.get("allocationMode") == "All"
    amount = _MOST_DEVICES if everything else Decimal(request.get("count") or 1)
    return {f"{request['deviceClassName']}{_DEVICES}": amount} if request.get("deviceClassName") else {}


def total_usage(kind: Kind, objects: Iterable[Mapping[str, Any]], quota: Mapping[str, Any]) -> Usage:
    """What those ``objects`` that ``quota`` covers use of what it names."""
    hard = (quota.get("spec") or {}).get("hard") or {}
    used = _sum(usage(kind, o) for o in objects if covers(quota, kind, o))
    return {name: amount for name, amount in used.items() if name in hard}


def covers(quota: Mapping[str, Any], kind: Kind, obj: Mapping[str, Any]) -> bool:
    """Whether all of the quota's scopes hold for ``obj``. They are about pods, and one is about claims of volumes."""
    wanted = list(scopes(quota))
    if kind is scheme.PERSISTENT_VOLUME_CLAIMS:
        classes = sorted(attributes_classes_of(obj))
        return all(s[0] == "VolumeAttributesClass" and _class_matches(classes, *s[1:]) for s in wanted)
    return not wanted or (kind is scheme.PODS and all(_scope_holds(scope, obj) for scope in wanted))


def scopes(quota: Mapping[str, Any]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(scope, operator, values) of ``spec.scopes`` and ``spec.scopeSelector``."""
    spec = quota.get("spec") or {}
    for scope in spec.get("scopes") or ():
        yield scope, "Exists", ()
    for term in (spec.get("scopeSelector") or {}).get("matchExpressions") or ():
        yield term["scopeName"], term["operator"], tuple(term.get("values") or ())


def _scope_holds(scope: tuple[str, str, tuple[str, ...]], pod: Mapping[str, Any]) -> bool:
    name, operator, values = scope
    spec = pod.get("spec") or {}
    match name:
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return is_best_effort(spec)
        case "NotBestEffort":
            return not is_best_effort(spec)
        case "PriorityClass":
            return _class_matches([n for n in (spec.get("priorityClassName"),) if n], operator, values)
        case "CrossNamespacePodAffinity":
            return any("namespaces" in term or "namespaceSelector" in term for term in _affinity_terms(spec))
    return False


def _class_matches(names: list[str], operator: str, values: tuple[str, ...]) -> bool:
    """Whether any of the classes that the object names, or that it names none, is what the scope asks for."""
    match operator:
        case "In":
            return any(name in values for name in names)
        case "NotIn":
            return not names or any(name not in values for name in names)
        case "Exists":
            return bool(names)
    return not names


def is_best_effort(spec: Mapping[str, Any]) -> bool:
    """No container asks for or is limited in CPU or memory."""
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()), spec):
        resources = container.get("resources") or {}
        if any(name in ("cpu", "memory") for which in ("requests", "limits") for name in resources.get(which) or ()):
            return False
    return True


def _affinity_terms(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        yield from rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for weighted in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield weighted.get("podAffinityTerm") or {}


def unspecified(quota: Mapping[str, Any], pod: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What a compute quota demands of every container and the pod's lack: (resource, names of containers)."""
    hard = (quota.get("spec") or {}).get("hard") or {}
    spec = pod.get("spec") or {}
    missing = []
    for resource in hard:
        lacking = [c.get("name", "") for c in spec.get("containers") or () if not _specifies(c, resource)]
        if lacking and not _specifies(spec, resource):
            missing.append((resource, lacking))
    return missing


def _specifies(container: Mapping[str, Any], resource: str) -> bool:
    which, name = ("limits", resource[7:]) if resource.startswith("limits.") else ("requests", resource)
    name = name.removeprefix("requests.")
    if name not in _PLAIN:
        return True
    return name in ((container.get("resources") or {}).get(which) or {})
