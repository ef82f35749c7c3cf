"""The shape of a pod: everything of it that a scheduling decision depends on, parsed once.

Pods of one shape are the same to every plugin, so they share their filter and score work. Two pods have the
same shape object exactly when the relevant parts of their JSON are equal.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from apimachinery.persistent_volumes import claims_of
from apimachinery.selectors import LabelSelector, from_object
from master.scheduler.requests import Amounts, pod_requests

Object = dict[str, Any]
Key = tuple[str, str]

_SPEC_PARTS = (
    "affinity",
    "nodeSelector",
    "overhead",
    "preemptionPolicy",
    "priority",
    "resourceClaims",
    "resources",
    "schedulerName",
    "schedulingGates",
    "tolerations",
    "topologySpreadConstraints",
)


@dataclass(frozen=True, slots=True)
class HostPort:
    ip: str
    protocol: str
    port: int


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """A pod affinity term. ``key`` makes equal terms equal; namespaces are resolved against its owner's."""

    key: bytes
    topology_key: str
    selector: LabelSelector
    namespaces: frozenset[str]
    namespace_selector: LabelSelector | None

    def matches(self, namespace: str, labels: Mapping[str, str], namespace_labels: Mapping[str, str]) -> bool:
        return self._covers(namespace, namespace_labels) and self.selector.matches(labels)

    def _covers(self, namespace: str, namespace_labels: Mapping[str, str]) -> bool:
        if namespace in self.namespaces:
            return True
        return self.namespace_selector is not None and self.namespace_selector.matches(namespace_labels)


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """One topology spread constraint."""

    key: bytes
    topology_key: str
    selector: LabelSelector
    max_skew: int
    min_domains: int
    hard: bool
    honor_affinity: bool
    honor_taints: bool


@dataclass(frozen=True, slots=True, eq=False)
class PodShape:
    """``carried`` are the terms that weigh on later pods while a pod of this shape is on a node:
    (weight, term), weight 0 for a required anti-affinity, else what a preference adds to a score."""

    namespace: str
    labels: Mapping[str, str]
    priority: int
    preempts: bool
    scheduler_name: str
    gates: tuple[str, ...]
    requests: Amounts
    scored: tuple[int, int]
    ports: tuple[HostPort, ...]
    node_name: str
    node_selector: Mapping[str, str]
    node_terms: tuple[Object, ...] | None
    node_preferences: tuple[Object, ...]
    tolerations: tuple[Object, ...]
    affinity: tuple[Term, ...]
    anti_affinity: tuple[Term, ...]
    preferences: tuple[tuple[int, Term], ...]
    carried: tuple[tuple[int, Term], ...]
    spread: tuple[Spread, ...]
    images: tuple[str, ...]
    claims: tuple[str, ...]
    resource_claims: tuple[str, ...]
    owner: tuple[str, str] | None
    population: tuple[str, bytes]


def _digest(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _merge_keys(selector: Object | None, labels: Mapping[str, str], keys: list[str], operator: str) -> Object | None:
    """Add ``key in (the pod's own value)`` for each of ``keys`` that the pod has (KEP-3633, KEP-3243)."""
    added = [{"key": k, "operator": operator, "values": [labels[k]]} for k in keys if k in labels]
    if selector is None or not added:
        return selector
    return {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *added]}


def _term(namespace: str, labels: Mapping[str, str], obj: Object) -> Term:
    chosen = _merge_keys(obj.get("labelSelector"), labels, obj.get("matchLabelKeys") or [], "In")
    chosen = _merge_keys(chosen, labels, obj.get("mismatchLabelKeys") or [], "NotIn")
    of_namespaces = obj.get("namespaceSelector")
    named = obj.get("namespaces") or ([] if of_namespaces is not None else [namespace])
    topology = obj.get("topologyKey", "")
    return Term(
        key=_digest([topology, chosen, sorted(named), of_namespaces]),
        topology_key=topology,
        selector=from_object(chosen),
        namespaces=frozenset(named),
        namespace_selector=None if of_namespaces is None else from_object(of_namespaces),
    )


def _spread(labels: Mapping[str, str], obj: Object) -> Spread:
    chosen = _merge_keys(obj.get("labelSelector"), labels, obj.get("matchLabelKeys") or [], "In")
    return Spread(
        key=_digest(chosen),
        topology_key=obj["topologyKey"],
        selector=from_object(chosen),
        max_skew=int(obj.get("maxSkew") or 1),
        min_domains=int(obj.get("minDomains") or 1),
        hard=obj.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
        honor_affinity=obj.get("nodeAffinityPolicy", "Honor") == "Honor",
        honor_taints=obj.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )


def _host_ports(spec: Object) -> tuple[HostPort, ...]:
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return tuple(
        HostPort(p.get("hostIP") or "0.0.0.0", p.get("protocol") or "TCP", int(p["hostPort"]))
        for c in [*(spec.get("containers") or ()), *sidecars]
        for p in c.get("ports") or ()
        if p.get("hostPort")
    )


def _owner(meta: Object) -> tuple[str, str] | None:
    for ref in meta.get("ownerReferences") or ():
        if ref.get("controller"):
            return ref["kind"], ref["name"]
    return None


def _identity(pod: Object) -> bytes:
    """The bytes that are equal for pods of one shape."""
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    containers = [
        (c.get("resources"), c.get("ports"), c.get("image"), c.get("restartPolicy"))
        for part in ("containers", "initContainers")
        for c in spec.get(part) or ()
    ]
    statuses = [
        (c["name"], c.get("allocatedResources"), c.get("resources"))
        for part in ("containerStatuses", "initContainerStatuses")
        for c in status.get(part) or ()
        if c.get("allocatedResources") or c.get("resources")
    ]
    return orjson.dumps(
        [
            meta.get("namespace", ""),
            meta.get("labels"),
            _owner(meta),
            [spec.get(part) for part in _SPEC_PARTS],
            len(spec.get("containers") or ()),
            containers,
            statuses,
            claims_of(pod),
        ],
        option=orjson.OPT_SORT_KEYS,
    )


def parse(pod: Object) -> PodShape:
    """The shape of one pod. Raises ValueError for quantities or selectors that the API would refuse."""
    meta, spec = pod["metadata"], pod.get("spec") or {}
    namespace, labels = meta.get("namespace", ""), meta.get("labels") or {}
    affinity = spec.get("affinity") or {}
    toward, away, nodes = (affinity.get(k) or {} for k in ("podAffinity", "podAntiAffinity", "nodeAffinity"))
    required, preferred = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    wanted = tuple(_term(namespace, labels, t) for t in toward.get(required) or ())
    unwanted = tuple(_term(namespace, labels, t) for t in away.get(required) or ())
    preferences = tuple(
        (sign * int(t["weight"]), _term(namespace, labels, t["podAffinityTerm"]))
        for sign, part in ((1, toward), (-1, away))
        for t in part.get(preferred) or ()
    )
    requests, scored = pod_requests(pod)
    node_required = nodes.get(required)
    inits, containers = spec.get("initContainers") or (), spec.get("containers") or ()
    return PodShape(
        namespace=namespace,
        labels=labels,
        priority=int(spec.get("priority") or 0),
        preempts=spec.get("preemptionPolicy") != "Never",
        scheduler_name=spec.get("schedulerName") or "default-scheduler",
        gates=tuple(g["name"] for g in spec.get("schedulingGates") or ()),
        requests=requests,
        scored=scored,
        ports=_host_ports(spec),
        node_name=spec.get("nodeName") or "",
        node_selector=spec.get("nodeSelector") or {},
        node_terms=None if node_required is None else tuple(node_required.get("nodeSelectorTerms") or ()),
        node_preferences=tuple(nodes.get(preferred) or ()),
        tolerations=tuple(spec.get("tolerations") or ()),
        affinity=wanted,
        anti_affinity=unwanted,
        preferences=preferences,
        # A required affinity of a placed pod also draws its peers, with weight 1 (HardPodAffinityWeight).
        carried=(*((0, t) for t in unwanted), *((1, t) for t in wanted), *preferences),
        spread=tuple(_spread(labels, c) for c in spec.get("topologySpreadConstraints") or ()),
        images=tuple(str(c.get("image") or "") for c in [*inits, *containers]),
        claims=tuple(claims_of(pod)),
        resource_claims=tuple(c["name"] for c in spec.get("resourceClaims") or ()),
        owner=_owner(meta),
        population=(namespace, _digest(labels)),
    )


class ShapeCache:
    """Interns shapes by identity bytes; the least recently used is forgotten beyond ``limit``.

    Where a pod is bound is no part of its shape: it is what decisions are about.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._shapes: OrderedDict[bytes, PodShape] = OrderedDict()
        self._limit = limit

    def of(self, pod: Object) -> PodShape:
        identity = _identity(pod)
        shape = self._shapes.get(identity)
        if shape is None:
            shape = self._shapes[identity] = replace(parse(pod), node_name="")
            if len(self._shapes) > self._limit:
                self._shapes.popitem(last=False)
        else:
            self._shapes.move_to_end(identity)
        return shape
