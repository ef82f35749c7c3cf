"""Where a DaemonSet's pods should be, and the next step of its rolling update. Pure.

Source: ``pkg/controller/daemon/{daemon_controller,update}.go``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from apimachinery import pods as pod_facts
from apimachinery.meta import Object, is_deleting, labels_of, name_of
from apimachinery.patch import copy
from apimachinery.placement import matches_node, taints_of, untolerated
from apimachinery.scheme import DAEMON_SETS
from master.controller_manager.controller_revisions import HASH_LABEL
from master.controller_manager.pod_control import pod_from_template
from master.controller_manager.rolling import scaled

_NODE_TAINT = "node.kubernetes.io/"
_PRESSURES = ("disk-pressure", "memory-pressure", "pid-pressure", "unschedulable")
ByNode = Mapping[str, Sequence[Object]]


@dataclass
class Step:
    """``create``: names of nodes that lack a pod. ``ended``: pods to delete because they finished."""

    create: list[str] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    ended: list[Object] = field(default_factory=list)


def daemon_tolerations(spec: Mapping[str, Object]) -> list[Object]:
    """The tolerations of the template and those that let daemons run on nodes in trouble."""
    added: list[Object] = [
        {"key": f"{_NODE_TAINT}{key}", "operator": "Exists", "effect": "NoExecute"}
        for key in ("not-ready", "unreachable")
    ]
    network = ("network-unavailable",) if spec.get("hostNetwork") else ()
    added += [
        {"key": f"{_NODE_TAINT}{key}", "operator": "Exists", "effect": "NoSchedule"} for key in (*_PRESSURES, *network)
    ]
    own: Sequence[Object] = spec.get("tolerations") or ()  # type: ignore[assignment]
    return [*own, *(t for t in added if t not in own)]


def pod_for_node(daemon_set: Object, node: str, hash_: str) -> Object:
    """The pod for one node. It is pinned by affinity, not ``nodeName``: the scheduler binds it."""
    pod = pod_from_template(daemon_set["spec"]["template"], daemon_set, DAEMON_SETS)
    pod["metadata"]["labels"] = {**(pod["metadata"].get("labels") or {}), HASH_LABEL: hash_}
    spec = pod["spec"] = copy(pod["spec"])
    spec["tolerations"] = daemon_tolerations(spec)
    pin = {"key": "metadata.name", "operator": "In", "values": [node]}
    affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [{**term, "matchFields": [pin]} for term in terms]
    return pod


def target_node(pod: Object) -> str:
    """The node that a daemon pod is on or is pinned to; "" if it is neither."""
    if pod_facts.node_name(pod):
        return pod_facts.node_name(pod)
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for expression in term.get("matchFields") or ():
            if expression["key"] == "metadata.name" and expression["operator"] == "In":
                return str(expression["values"][0])
    return ""


def should_run(daemon_set: Object, node: Object) -> tuple[bool, bool]:
    """(whether a pod should be started on the node, whether one that runs there may go on)."""
    spec = daemon_set["spec"]["template"]["spec"]
    if spec.get("nodeName") not in {None, "", name_of(node)} or not matches_node(spec, node):
        return False, False
    tolerations = daemon_tolerations(spec)
    if untolerated(taints_of(node), tolerations, "NoExecute") is not None:
        return False, False
    return untolerated(taints_of(node), tolerations, "NoSchedule") is None, True


def by_node(pods: Sequence[Object]) -> dict[str, list[Object]]:
    """Pods by their target node, oldest first. Pods that have ended and are being deleted do not count."""
    found: dict[str, list[Object]] = {}
    for pod in sorted(pods, key=lambda p: (p["metadata"].get("creationTimestamp") or "", name_of(p))):
        if not (is_deleting(pod) and pod_facts.is_finished(pod)):
            found.setdefault(target_node(pod), []).append(pod)
    return found


def is_new(pod: Object, hash_: str) -> bool:
    return labels_of(pod).get(HASH_LABEL) == hash_


def limits(daemon_set: Object, desired: int) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods; a set that allows neither gets one unavailable."""
    strategy = (daemon_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    surge = scaled(strategy.get("maxSurge"), desired, round_up=True, default=0)
    unavailable = scaled(strategy.get("maxUnavailable"), desired, round_up=True, default=1)
    return surge, unavailable if surge or unavailable else 1


def place(daemon_set: Object, nodes: Sequence[Object], pods: ByNode, hash_: str, now: datetime) -> Step:
    """Which nodes lack a pod, and which pods are where they should not be, have ended or are too many."""
    step = Step()
    surge, _ = limits(daemon_set, len(nodes))
    delay = int(daemon_set["spec"].get("minReadySeconds") or 0)
    names = set()
    for node in nodes:
        names.add(name_of(node))
        start, go_on = should_run(daemon_set, node)
        there = pods.get(name_of(node), ())
        if not go_on:
            step.delete += [p for p in there if not is_deleting(p)]
        elif start and not there:
            step.create.append(name_of(node))
        else:
            _tidy(step, there, surge, hash_, delay, now)
    step.delete += [p for node_name, there in pods.items() if node_name not in names for p in there if _is_waiting(p)]
    return step


def _is_waiting(pod: Object) -> bool:
    """Pinned to a node that is gone, it would wait for ever. (What ran there is the pod garbage collector's.)"""
    return not pod_facts.node_name(pod) and not is_deleting(pod)


def _tidy(step: Step, there: Sequence[Object], surge: int, hash_: str, delay: int, now: datetime) -> None:
    living = [p for p in there if not is_deleting(p)]
    step.ended += [p for p in living if pod_facts.is_finished(p)]
    running = [p for p in living if not pod_facts.is_finished(p)]
    if len(running) <= 1:
        return
    if not surge:
        step.delete += running[1:]
        return
    new = next((p for p in running if is_new(p, hash_)), None)
    old = next((p for p in running if not is_new(p, hash_)), None)
    keep = [p for p in (new, old) if p is not None]
    if new and old and (pod_facts.is_available(new, delay, now) or not pod_facts.is_ready(old)):
        keep = [new]
    step.delete += [p for p in running if p not in keep]


def roll(daemon_set: Object, nodes: Sequence[Object], pods: ByNode, hash_: str, now: datetime) -> Step:
    """The next step towards the new template."""
    eligible = [name_of(n) for n in nodes if should_run(daemon_set, n)[0]]
    surge, unavailable = limits(daemon_set, len(eligible))
    delay = int(daemon_set["spec"].get("minReadySeconds") or 0)
    pairs = {name: _pair(pods.get(name, ()), hash_) for name in eligible}
    if surge:
        return _roll_with_surge(pairs, surge, delay, now)
    return _roll_in_place(pairs, unavailable, delay, now)


Pair = tuple[Object | None, Object | None]


def _pair(there: Sequence[Object], hash_: str) -> Pair:
    """(new, old) of the pods that are staying on a node."""
    living = [p for p in there if not is_deleting(p)]
    new = next((p for p in living if is_new(p, hash_)), None)
    return new, next((p for p in living if not is_new(p, hash_)), None)


def _roll_in_place(pairs: Mapping[str, Pair], unavailable: int, delay: int, now: datetime) -> Step:
    missing = 0
    first: list[Object] = []
    candidates: list[Object] = []
    for new, old in pairs.values():
        if new is None and old is not None:
            if pod_facts.is_available(old, delay, now):
                candidates.append(old)
            else:
                first.append(old)
                missing += 1
        elif new is None or old is not None or not pod_facts.is_available(new, delay, now):
            missing += 1
    return Step(delete=[*first, *candidates[: max(0, unavailable - missing)]])


def _roll_with_surge(pairs: Mapping[str, Pair], surge: int, delay: int, now: datetime) -> Step:
    extra = 0
    first: list[str] = []
    candidates: list[str] = []
    done: list[Object] = []
    for node, (new, old) in pairs.items():
        if old is None:
            continue
        if new is None:
            (candidates if pod_facts.is_available(old, delay, now) else first).append(node)
        elif pod_facts.is_available(new, delay, now):
            done.append(old)
        else:
            extra += 1
    return Step(create=[*first, *candidates[: max(0, surge - extra)]], delete=done)


def next_status(daemon_set: Object, nodes: Sequence[Object], pods: ByNode, hash_: str, now: datetime) -> Object:
    delay = int(daemon_set["spec"].get("minReadySeconds") or 0)
    counts = dict.fromkeys(("desired", "current", "misscheduled", "ready", "available", "updated"), 0)
    for node in nodes:
        there = pods.get(name_of(node), ())
        if not should_run(daemon_set, node)[0]:
            counts["misscheduled"] += bool(there)
            continue
        counts["desired"] += 1
        counts["current"] += bool(there)
        shown = _shown(there, hash_)
        if shown is not None:
            counts["ready"] += pod_facts.is_ready(shown)
            counts["available"] += pod_facts.is_available(shown, delay, now)
            counts["updated"] += is_new(shown, hash_)
    status = {
        **(daemon_set.get("status") or {}),
        "observedGeneration": daemon_set["metadata"].get("generation", 0),
        "desiredNumberScheduled": counts["desired"],
        "currentNumberScheduled": counts["current"],
        "numberMisscheduled": counts["misscheduled"],
        "numberReady": counts["ready"],
        "numberAvailable": counts["available"],
        "numberUnavailable": counts["desired"] - counts["available"],
        "updatedNumberScheduled": counts["updated"],
    }
    optional = ("numberAvailable", "numberUnavailable", "updatedNumberScheduled")
    return {k: v for k, v in status.items() if v or k not in optional}


def _shown(there: Sequence[Object], hash_: str) -> Object | None:
    """The pod that counts for its node: the oldest ready one, else the oldest."""
    return next((p for p in there if pod_facts.is_ready(p)), there[0] if there else None)
