"""Pods: quality of service, status as ``kubectl get`` shows it, and what an update may change."""

from collections.abc import Iterable
from typing import Any

from apimachinery.duration import since

from ..strategy import Strategy
from .causes import Causes, forbidden
from .pod_defaults import default_pod
from .pod_resources import qos_class, validate_resize
from .pod_updates import validate_ephemeral_update, validate_spec_update
from .pod_validation import validate_new_pod, validate_pod_spec
from .printing import AGE, NAME, NONE, at, or_none, text

Object = dict[str, Any]


class PodStrategy(Strategy):
    returns_deleted = True
    columns = (
        NAME,
        text(
            "Ready", lambda pod: _Summary(pod).ready, "The aggregate readiness state of this pod for accepting traffic."
        ),
        text("Status", lambda pod: _Summary(pod).reason, "The aggregate status of the containers in this pod."),
        text(
            "Restarts",
            lambda pod: _Summary(pod).restarts,
            "The number of times the containers in this pod have been restarted and when the last container restarted.",
        ),
        AGE,
        text("IP", lambda pod: or_none(at(pod, "status.podIP")), "podIP address allocated to the pod.", wide=True),
        text("Node", lambda pod: or_none(at(pod, "spec.nodeName")), "The node the pod is scheduled to.", wide=True),
        text("Nominated Node", lambda pod: or_none(at(pod, "status.nominatedNodeName")), wide=True),
        text("Readiness Gates", lambda pod: _gates(pod), wide=True),
    )
    field_labels = {
        "spec.nodeName": lambda pod: str(at(pod, "spec.nodeName", "")),
        "spec.restartPolicy": lambda pod: str(at(pod, "spec.restartPolicy", "")),
        "spec.schedulerName": lambda pod: str(at(pod, "spec.schedulerName", "")),
        "spec.serviceAccountName": lambda pod: str(at(pod, "spec.serviceAccountName", "")),
        "spec.hostNetwork": lambda pod: "true" if at(pod, "spec.hostNetwork") else "false",
        "status.phase": lambda pod: str(at(pod, "status.phase", "")),
        "status.podIP": lambda pod: str(at(pod, "status.podIP", "")),
        "status.podIPs": lambda pod: ",".join(i.get("ip", "") for i in at(pod, "status.podIPs", ())),
        "status.nominatedNodeName": lambda pod: str(at(pod, "status.nominatedNodeName", "")),
    }

    def default(self, obj: Object) -> None:
        default_pod(obj)

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj)}
        if at(obj, "spec.schedulingGates"):
            message = "Scheduling is blocked due to non-empty scheduling gates"
            gate = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message}
            obj["status"]["conditions"] = [gate]

    def prepare_status(self, obj: Object, old: Object) -> None:
        status = obj.setdefault("status", {})
        status.setdefault("qosClass", at(old, "status.qosClass") or qos_class(obj))
        if status.get("podIP") and not status.get("podIPs"):
            status["podIPs"] = [{"ip": status["podIP"]}]

    def validate(self, obj: Object) -> Causes:
        return validate_pod_spec(obj.get("spec") or {}, "spec")

    def validate_create(self, obj: Object) -> Causes:
        return validate_new_pod(obj.get("spec") or {})

    def validate_update(self, obj: Object, old: Object) -> Causes:
        causes = validate_spec_update(obj.get("spec") or {}, old.get("spec") or {})
        if at(obj, "spec.ephemeralContainers", []) != at(old, "spec.ephemeralContainers", []):
            causes.append(forbidden("spec.ephemeralContainers", "use the ephemeralcontainers subresource"))
        return causes

    def validate_part(self, part: str, obj: Object, old: Object) -> Causes:
        spec, before = obj.get("spec") or {}, old.get("spec") or {}
        if part == "ephemeralcontainers":
            return validate_ephemeral_update(spec, before) + self.validate(obj)
        if part == "resize":
            return validate_resize(obj, old) + self.validate(obj)
        return self.validate(obj)

    def grace_period(self, obj: Object, requested: int | None) -> int:
        """A pod that no node runs goes at once; any other stays until its node says that it has stopped."""
        if not at(obj, "spec.nodeName") or at(obj, "status.phase") in ("Succeeded", "Failed"):
            return 0
        period: int = at(obj, "spec.terminationGracePeriodSeconds", 30) if requested is None else requested
        return 1 if period < 0 else period


class _Summary:
    """One pass over a pod's status: what the columns Ready, Status and Restarts say."""

    def __init__(self, pod: Object) -> None:
        spec, status = pod.get("spec") or {}, pod.get("status") or {}
        self._init = {c.get("name"): c for c in spec.get("initContainers") or ()}
        self._restarts = self._sidecar_restarts = 0
        self._last = self._sidecar_last = ""
        self._ready = 0
        self._total = len(spec.get("containers") or ()) + sum(self._is_sidecar(n) for n in self._init)
        self.reason: str = status.get("reason") or status.get("phase") or ""
        conditions = {c.get("type"): c for c in status.get("conditions") or ()}
        if (conditions.get("PodScheduled") or {}).get("reason") == "SchedulingGated":
            self.reason = "SchedulingGated"
        initializing = self._initialize(status.get("initContainerStatuses") or ())
        if not initializing or (conditions.get("Initialized") or {}).get("status") == "True":
            self._restarts, self._last = self._sidecar_restarts, self._sidecar_last
            self._run(status.get("containerStatuses") or (), (conditions.get("Ready") or {}).get("status") == "True")
        self._terminate(pod, status)

    @property
    def ready(self) -> str:
        return f"{self._ready}/{self._total}"

    @property
    def restarts(self) -> str:
        ago = f" ({since(self._last)} ago)" if self._restarts and self._last else ""
        return f"{self._restarts}{ago}"

    def _is_sidecar(self, name: Any) -> bool:
        return (self._init.get(name) or {}).get("restartPolicy") == "Always"

    def _initialize(self, statuses: Iterable[Object]) -> bool:
        for index, container in enumerate(statuses):
            state, sidecar = container.get("state") or {}, self._is_sidecar(container.get("name"))
            self._count(container, sidecar=sidecar)
            ended, waiting = state.get("terminated"), state.get("waiting") or {}
            if ended is not None and not ended.get("exitCode"):
                continue
            if sidecar and container.get("started"):
                self._ready += bool(container.get("ready"))
                continue
            if ended is not None:
                self.reason = "Init:" + _ending(ended)
            elif waiting.get("reason", "PodInitializing") not in ("", "PodInitializing"):
                self.reason = f"Init:{waiting['reason']}"
            else:
                self.reason = f"Init:{index}/{len(self._init)}"
            return True
        return False

    def _count(self, container: Object, *, sidecar: bool = False) -> None:
        restarts = container.get("restartCount") or 0
        finished = at(container, "lastState.terminated.finishedAt", "")
        self._restarts += restarts
        self._last = max(self._last, finished)
        if sidecar:
            self._sidecar_restarts += restarts
            self._sidecar_last = max(self._sidecar_last, finished)

    def _run(self, statuses: Iterable[Object], pod_ready: bool) -> None:
        running = False
        for container in reversed(list(statuses)):
            self._count(container)
            state = container.get("state") or {}
            if at(state, "waiting.reason"):
                self.reason = state["waiting"]["reason"]
            elif state.get("terminated") is not None:
                self.reason = _ending(state["terminated"])
            elif container.get("ready") and state.get("running") is not None:
                running = True
                self._ready += 1
        if self.reason == "Completed" and running:
            self.reason = "Running" if pod_ready else "NotReady"

    def _terminate(self, pod: Object, status: Object) -> None:
        if not at(pod, "metadata.deletionTimestamp"):
            return
        if status.get("reason") == "NodeLost":
            self.reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            self.reason = "Terminating"


def _ending(state: Object) -> str:
    if state.get("reason"):
        return str(state["reason"])
    return f"Signal:{state['signal']}" if state.get("signal") else f"ExitCode:{state.get('exitCode', 0)}"


def _gates(pod: Object) -> str:
    gates = [g.get("conditionType") for g in at(pod, "spec.readinessGates", ())]
    if not gates:
        return NONE
    true = {c.get("type") for c in at(pod, "status.conditions", ()) if c.get("status") == "True"}
    return f"{sum(g in true for g in gates)}/{len(gates)}"
