"""The pod conditions that a node owns. Pure.

``lastTransitionTime`` moves only when a condition's status changes. Source: kubelet ``status/generate.go``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.agent.pod_state import Object, PodRuntime
from node.agent.times import rfc3339

RESIZE_PENDING, RESIZE_IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
PASSING = frozenset({RESIZE_PENDING, RESIZE_IN_PROGRESS})
"""Conditions that are there only while they are true; the others a pod always has."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One of the passing conditions."""

    type: str
    reason: str = ""
    message: str = ""


def pod_conditions(
    pod: Object, status: Object, runtime: PodRuntime, previous: Object, now: float, more: Sequence[Condition] = ()
) -> list[Object]:
    """The node's conditions for a pod whose ``status`` holds phase and container statuses already."""
    ready_containers = _containers_ready(status)
    made = [
        _sandbox_ready(runtime, bool(pod["spec"].get("hostNetwork")), status),
        _initialized(pod, status),
        _pod_ready(pod, ready_containers),
        ready_containers,
        _condition("PodScheduled", True),
        *(_condition(c.type, True, c.reason, c.message) for c in more),
    ]
    old = {c["type"]: c for c in previous.get("conditions") or ()}
    generation = pod["metadata"].get("generation")
    return [_dated(c, old.get(c["type"]), now, generation) for c in made]


def _dated(condition: Object, old: Object | None, now: float, generation: int | None) -> Object:
    same = old is not None and old.get("status") == condition["status"] and old.get("lastTransitionTime")
    moment = old["lastTransitionTime"] if same and old else rfc3339(now)
    dated = condition | {"lastProbeTime": None, "lastTransitionTime": moment}
    return dated | {"observedGeneration": generation} if generation else dated


def _condition(kind: str, true: bool, reason: str = "", message: str = "") -> Object:
    out: Object = {"type": kind, "status": "True" if true else "False"}
    if reason:
        out["reason"] = reason
    if message:
        out["message"] = message
    return out


def _sandbox_ready(runtime: PodRuntime, host_network: bool, status: Object) -> Object:
    sandbox = runtime.sandbox
    ready = sandbox is not None and sandbox.ready and (host_network or bool(sandbox.ips))
    return _condition("PodReadyToStartContainers", ready and status["phase"] not in ("Failed", "Succeeded"))


def _initialized(pod: Object, status: Object) -> Object:
    inits: Sequence[Object] = status.get("initContainerStatuses") or ()
    if status["phase"] == "Succeeded":
        return _condition("Initialized", True, "PodCompleted")
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"}
    incomplete = [s["name"] for s in inits if not (s["started"] if s["name"] in sidecars else s["ready"])]
    if incomplete and _none_ran(status):
        message = f"containers with incomplete status: {_names(incomplete)}"
        return _condition("Initialized", False, "ContainersNotInitialized", message)
    return _condition("Initialized", True)


def _none_ran(status: Object) -> bool:
    """Whether no regular container has run yet: after that, init containers stay initialized."""
    return not any("waiting" not in s["state"] or s["lastState"] for s in status["containerStatuses"])


def _containers_ready(status: Object) -> Object:
    if status["phase"] == "Succeeded":
        return _condition("ContainersReady", False, "PodCompleted")
    if status["phase"] == "Failed":
        return _condition("ContainersReady", False, "PodFailed")
    unready = [s["name"] for s in status["containerStatuses"] if not s["ready"]]
    inits = status.get("initContainerStatuses") or ()
    unready += [s["name"] for s in inits if "running" in s["state"] and s["started"] and not s["ready"]]  # sidecars
    if unready:
        message = f"containers with unready status: {_names(unready)}"
        return _condition("ContainersReady", False, "ContainersNotReady", message)
    return _condition("ContainersReady", True)


def _pod_ready(pod: Object, containers: Object) -> Object:
    if containers["status"] != "True":
        return containers | {"type": "Ready"}
    gates = [g["conditionType"] for g in pod["spec"].get("readinessGates") or ()]
    have = {c["type"]: c.get("status") for c in (pod.get("status") or {}).get("conditions") or ()}
    missing = [_gate_message(g, have) for g in gates if have.get(g) != "True"]
    if missing:
        return _condition("Ready", False, "ReadinessGatesNotReady", ", ".join(missing))
    return _condition("Ready", True)


def _gate_message(gate: str, have: Object) -> str:
    if gate not in have:
        return f'corresponding condition of pod readiness gate "{gate}" does not exist.'
    return f'the status of pod readiness gate "{gate}" is not "True", but {have[gate]}'


def _names(names: Iterable[str]) -> str:
    return f"[{' '.join(names)}]"
