"""The status of a pod, made from its spec, what the runtime holds and what the probes say. Pure.

Phases, conditions and reasons are upstream's. Source: kubelet ``kubelet_pods.go`` (getPhase,
convertToAPIContainerStatuses) and ``status/generate.go``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from node.agent.conditions import Condition, pod_conditions
from node.agent.pod_state import (
    ContainerView,
    Object,
    PodRuntime,
    ProbeResults,
    State,
    Waiting,
    ephemeral_containers,
    init_containers,
    is_sidecar,
    regular_containers,
    restarts,
)
from node.agent.times import rfc3339

TERMINATED_BY_KUBELET: Final = "TerminationByKubelet"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision about the whole pod that overrides what its containers say (a deadline, a rejection)."""

    phase: str
    reason: str
    message: str
    grace: int | None = None  # seconds, in the place of the pod's own
    disruption: str = ""  # the reason of the condition DisruptionTarget, if the node takes the pod away


@dataclass(frozen=True, slots=True)
class StatusInputs:
    """All that a status is made from. ``now`` and ``start_time`` are seconds since 1970."""

    pod: Object
    runtime: PodRuntime
    probes: ProbeResults
    waiting: Mapping[str, Waiting]
    now: float
    start_time: float
    host_ips: Sequence[str]
    previous: Object  # the status that was made last, or what the API server had at first
    runtime_type: str = "containerd"
    verdict: Verdict | None = None
    failed_init: str = ""
    terminating: bool = False
    resources: Mapping[str, Object] = field(default_factory=dict)
    more_conditions: Sequence[Condition] = ()


def make_status(inputs: StatusInputs) -> Object:
    """A whole ``status`` as this node knows it, the conditions included that the node owns."""
    pod, spec = inputs.pod, inputs.pod["spec"]
    inits = [_container_status(inputs, c, "init") for c in init_containers(pod)]
    regular = [_container_status(inputs, c, "container") for c in regular_containers(pod)]
    phase = inputs.verdict.phase if inputs.verdict else _phase(inputs, inits, regular)
    if phase == "Pending" and inputs.terminating and not any("running" in s["state"] for s in (*inits, *regular)):
        phase = "Failed"  # what was deleted before it ran will never run: a Job waits for the word
    status: Object = {"observedGeneration": pod["metadata"].get("generation"), "phase": phase}
    if inputs.verdict:
        status |= {"reason": inputs.verdict.reason, "message": inputs.verdict.message}
    status["qosClass"] = (pod.get("status") or {}).get("qosClass") or "BestEffort"
    status["startTime"] = inputs.previous.get("startTime") or rfc3339(inputs.start_time)
    status |= _addresses(inputs, bool(spec.get("hostNetwork"))) | inputs.resources.get("", {})
    if inits:
        status["initContainerStatuses"] = inits
    status["containerStatuses"] = regular
    ephemeral = [_container_status(inputs, c, "ephemeral") for c in ephemeral_containers(pod)]
    if ephemeral:
        status["ephemeralContainerStatuses"] = ephemeral
    status["conditions"] = pod_conditions(
        pod, status, inputs.runtime, inputs.previous, inputs.now, inputs.more_conditions
    )
    return status


def _addresses(inputs: StatusInputs, host_network: bool) -> Object:
    out: Object = {}
    if inputs.host_ips:
        out["hostIP"] = inputs.host_ips[0]
        out["hostIPs"] = [{"ip": ip} for ip in inputs.host_ips]
    sandbox = inputs.runtime.sandbox
    ips: Sequence[str] = ()
    if sandbox is not None and sandbox.ready:
        ips = inputs.host_ips if host_network else sandbox.ips
    if ips:
        return out | {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    if inputs.previous.get("podIP"):  # what has ended keeps its address
        out |= {"podIP": inputs.previous["podIP"], "podIPs": inputs.previous.get("podIPs", [])}
    return out


# -- containers


def _container_status(inputs: StatusInputs, spec: Object, kind: str) -> Object:
    name = spec["name"]
    last = inputs.runtime.latest(name)
    known = _known(inputs.previous, name)
    status: Object = {
        "name": name,
        "image": (last.image if last else "") or spec.get("image", ""),
        "imageID": last.image_id if last else known.get("imageID", ""),
        "restartCount": last.attempt if last else int(known.get("restartCount") or 0),
        "state": _state(inputs, spec, kind, last, known),
        "lastState": _last_state(inputs, name, last, known),
    }
    if last:
        status["containerID"] = f"{inputs.runtime_type}://{last.id}"
    elif known.get("containerID"):
        status["containerID"] = known["containerID"]
    started = bool(last and last.running and last.id not in inputs.probes.not_started)
    status["started"] = started
    status["ready"] = _ready(inputs, spec, kind, last, started)
    if kind == "ephemeral":
        status["ready"] = False
    if mounts := _mounts(spec, last):
        status["volumeMounts"] = mounts
    if last and last.user:
        status["user"] = last.user
    if last and last.running and name in inputs.resources:
        status |= inputs.resources[name]
    return status


def _mounts(spec: Object, last: ContainerView | None) -> list[Object]:
    """As KEP-3857 has them told: what ``recursiveReadOnly`` came to."""
    out = []
    for mount in spec.get("volumeMounts") or ():
        told = {"name": mount["name"], "mountPath": mount["mountPath"]}
        if mount.get("readOnly"):
            recursive = last is not None and mount["mountPath"] in last.recursive
            told |= {"readOnly": True, "recursiveReadOnly": "Enabled" if recursive else "Disabled"}
        out.append(told)
    return out


def _ready(inputs: StatusInputs, spec: Object, kind: str, last: ContainerView | None, started: bool) -> bool:
    if last is None:
        return False
    if kind == "init" and not is_sidecar(spec):
        return last.state is State.EXITED and last.exit_code == 0
    return last.running and started and last.id not in inputs.probes.unready


def _known(previous: Object, name: str) -> Object:
    for key in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for status in previous.get(key) or ():
            if status["name"] == name:
                return dict(status)
    return {}


def _state(inputs: StatusInputs, spec: Object, kind: str, last: ContainerView | None, known: Object) -> Object:
    if last is not None and last.running:
        return {"running": {"startedAt": rfc3339(last.started_at)}}
    waiting = inputs.waiting.get(spec["name"])
    if waiting is not None and not inputs.terminating:
        return {"waiting": _waiting(waiting)}
    if last is not None and last.state is State.EXITED:
        return {"terminated": _terminated(inputs, last)}
    if inputs.terminating or inputs.verdict:
        return _gone(inputs, known)
    return {"waiting": {"reason": _default_reason(inputs, kind)}}


def _default_reason(inputs: StatusInputs, kind: str) -> str:
    inits = init_containers(inputs.pod)
    if kind == "init":
        return "PodInitializing"
    done = all(
        (last := inputs.runtime.latest(c["name"])) is not None
        and (last.running if is_sidecar(c) else last.state is State.EXITED and last.exit_code == 0)
        for c in inits
    )
    return "ContainerCreating" if done else "PodInitializing"


def _gone(inputs: StatusInputs, known: Object) -> Object:
    """The state of a container that the runtime does not have though the pod is ending."""
    state: Object = known.get("state") or {}
    if "terminated" in state or "running" not in state:
        reason = "ContainerCreating" if not inputs.verdict else inputs.verdict.reason
        return state or {"waiting": {"reason": reason}}
    message = "The container could not be located when the pod was terminated"
    return {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": message}}


def _waiting(waiting: Waiting) -> Object:
    out = {"reason": waiting.reason}
    return out | {"message": waiting.message} if waiting.message else out


def _terminated(inputs: StatusInputs, container: ContainerView) -> Object:
    out: Object = {
        "exitCode": container.exit_code,
        "reason": container.reason or ("Completed" if container.exit_code == 0 else "Error"),
        "startedAt": rfc3339(container.started_at) if container.started_at else None,
        "finishedAt": rfc3339(container.finished_at) if container.finished_at else None,
        "containerID": f"{inputs.runtime_type}://{container.id}",
    }
    if container.message:
        out["message"] = container.message
    return out


def _last_state(inputs: StatusInputs, name: str, last: ContainerView | None, known: Object) -> Object:
    """How the container before the present one ended; with a waiting reason, how the present one did."""
    if last is None:
        return dict(known.get("lastState") or {})
    if last.state is State.EXITED and name in inputs.waiting and not inputs.terminating:
        return {"terminated": _terminated(inputs, last)}
    previous = inputs.runtime.previous(name)
    if previous is not None and previous.state is State.EXITED:
        return {"terminated": _terminated(inputs, previous)}
    return dict(known.get("lastState") or {})


# -- phase


def _phase(inputs: StatusInputs, inits: Sequence[Object], regular: Sequence[Object]) -> str:
    """Source: kubelet getPhase."""
    has_run = any("running" in s["state"] or _ended(s) for s in regular)
    if inputs.failed_init or any(_failed_init(inputs, s) for s in inits):
        return "Failed"
    if inits and not has_run and not all(s["ready"] or s["started"] for s in inits):
        return "Pending"
    running = sum("running" in s["state"] for s in regular)
    ended = [s for s in regular if _ended(s)]
    if running + len(ended) < len(regular):
        return "Pending"
    if running or not ended:
        return "Running"
    return _ended_phase(inputs, ended)


def _ended_phase(inputs: StatusInputs, ended: Sequence[Object]) -> str:
    """All regular containers have ended."""
    specs = {c["name"]: c for c in regular_containers(inputs.pod)}
    codes = {s["name"]: int(_final(s).get("exitCode", 1)) for s in ended}
    if not inputs.terminating and any(restarts(inputs.pod, specs[name], code) for name, code in codes.items()):
        return "Running"
    return "Failed" if any(codes.values()) else "Succeeded"


def _failed_init(inputs: StatusInputs, status: Object) -> bool:
    spec = next(c for c in init_containers(inputs.pod) if c["name"] == status["name"])
    code = (status["state"].get("terminated") or {}).get("exitCode", 0)
    return not is_sidecar(spec) and code != 0 and not restarts(inputs.pod, spec, code)


def _final(status: Object) -> Object:
    state = status["state"].get("terminated") or status["lastState"].get("terminated") or {}
    return dict(state)


def _ended(status: Object) -> bool:
    """Ended, or waiting to be restarted after an end."""
    waiting_after_end = "waiting" in status["state"] and "terminated" in status["lastState"]
    return "terminated" in status["state"] or waiting_after_end
