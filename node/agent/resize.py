"""In-place resize of one pod (KEP-1287): which resources it may have, which its containers have, and what is told.

What is *admitted* counts against the node; what is *applied* is in the cgroups. Both are kept in the pod's folder once
they differ from the spec, so that a restarted agent neither forgets what it gave nor gives it twice. A pod that was
never resized has no such file, and its spec is both.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from apimachinery import quantity, whole_file
from node.agent import admission
from node.agent.conditions import RESIZE_IN_PROGRESS, RESIZE_PENDING, Condition
from node.agent.node_services import NodeServices
from node.agent.pod_state import ContainerView, Object, PodRuntime, init_containers, regular_containers, uid_of
from node.agent.resources import cri_resources
from node.cri.runtime import RuntimeFault

_RESOURCES: Final = ("cpu", "memory")
POD: Final = ""  # in the place of a container's name


@dataclass(slots=True)
class _State:
    admitted: dict[str, Object] = field(default_factory=dict)
    applied: dict[str, Object] = field(default_factory=dict)


class Resizer:
    """``others``: the active pods of the node but this one, with what was admitted to them."""

    def __init__(self, services: NodeServices, pod: Object, others: Callable[[], Iterable[Object]]) -> None:
        self._services, self._others = services, others
        self._path = services.paths.resources_file(uid_of(pod))
        self._state = self._load() or _State(asked(pod), asked(pod))
        self._pending: Condition | None = None
        self._problem = ""

    @property
    def deferred(self) -> bool:
        """Whether the pod waits for room."""
        return self._pending is not None and self._pending.reason == "Deferred"

    def effective(self, pod: Object) -> Object:
        """The pod with the resources that were admitted: what containers are made from."""
        return with_resources(pod, self._state.admitted)

    def admit(self, pod: Object) -> None:
        """Take over what the spec asks for, if the node has room."""
        wanted = asked(pod)
        if wanted == self._state.admitted:
            self._pending = None
            return
        before, allocatable = self._pending, self._services.facts.allocatable
        alone = admission.check_resources(pod, [], allocatable)
        if alone is not None:
            self._pending = Condition(RESIZE_PENDING, "Infeasible", alone.message)
        elif (beside := admission.check_resources(pod, list(self._others()), allocatable)) is not None:
            self._pending = Condition(RESIZE_PENDING, "Deferred", beside.message)
        else:
            self._pending, self._state.admitted = None, wanted
            self._save()
            self._services.event(pod, "Normal", "ResizeStarted", f"Pod resize started: {_summary(pod)}")
        if self._pending is not None and self._pending != before:
            reason, error = self._pending.reason, self._pending.message
            self._services.event(pod, "Warning", f"Resize{reason}", f"Pod resize {reason}: {_summary(pod, error)}")

    async def apply(self, pod: Object, runtime: PodRuntime) -> frozenset[str]:
        """Give running containers what was admitted. The names of those that must be restarted to get it."""
        self._problem, restarts, changed = "", set[str](), await self._apply_whole(pod, runtime)
        for spec in _containers(self.effective(pod)):
            name, last = spec["name"], runtime.latest(spec["name"])
            if self._state.applied.get(name) == self._state.admitted.get(name):
                continue
            running = last is not None and last.running
            if running and self._restarts(spec):
                restarts.add(name)
            elif last is None or not running or await self._update(pod, spec, last):  # a new one is made with them
                self._state.applied[name] = spec.get("resources") or {}
                changed = True
        if changed:
            self._done(pod)
        return frozenset(restarts)

    async def _apply_whole(self, pod: Object, runtime: PodRuntime) -> bool:
        """Bound the pod anew; whether that was to do. Containers without limits of their own have the pod's."""
        if self._state.applied.get(POD) == self._state.admitted.get(POD):
            return False
        effective = self.effective(pod)
        try:
            await self._services.preparer.make_cgroup(effective)
        except OSError as error:
            self._failed(pod, f"Error resizing pod: {error}")
            return False
        running = [(spec, last) for spec in _containers(effective) if (last := runtime.latest(spec["name"]))]
        if all([await self._update(effective, spec, last) for spec, last in running if last.running]):
            self._state.applied[POD] = self._state.admitted[POD]
        return True

    def created(self, pod: Object, spec: Object) -> None:
        """A container was made, with what was admitted."""
        name, given = spec["name"], spec.get("resources") or {}
        if self._state.applied.get(name) != given:
            self._state.applied[name] = given
            self._done(pod)

    def _done(self, pod: Object) -> None:
        """Something more has been applied."""
        self._save()
        if self._state.applied == self._state.admitted:
            self._services.event(pod, "Normal", "ResizeCompleted", f"Pod resize completed: {_summary(pod)}")

    def conditions(self, pod: Object) -> list[Condition]:
        out = [self._pending] if self._pending else []
        if self._problem:
            out.append(Condition(RESIZE_IN_PROGRESS, "Error", self._problem))
        elif any(self._state.applied.get(n) != r for n, r in self._state.admitted.items()):
            out.append(Condition(RESIZE_IN_PROGRESS))
        return out

    def statuses(self) -> dict[str, Object]:
        """``resources`` (applied) and ``allocatedResources`` (admitted requests) of the container statuses."""
        out: dict[str, Object] = {}
        for name, admitted in self._state.admitted.items():
            out[name] = {"resources": self._state.applied.get(name, admitted)}
            if admitted.get("requests"):
                out[name]["allocatedResources"] = admitted["requests"]
        return out

    async def _update(self, pod: Object, spec: Object, view: ContainerView) -> bool:
        given = cri_resources(self.effective(pod), spec, self._services.facts.memory_capacity)
        try:
            await self._services.runtime.update_container_resources(view.id, given)
        except RuntimeFault as fault:
            self._failed(pod, f"Error resizing container {spec['name']}: {fault}")
            return False
        return True

    def _failed(self, pod: Object, problem: str) -> None:
        self._problem = problem
        self._services.event(pod, "Warning", "ResizeError", problem)

    def _restarts(self, spec: Object) -> bool:
        """Whether a resource that changes has the policy RestartContainer."""
        policies = {p["resourceName"]: p["restartPolicy"] for p in spec.get("resizePolicy") or ()}
        before, now = self._state.applied.get(spec["name"]) or {}, spec.get("resources") or {}
        changed = [r for r in _RESOURCES if _amounts(before, r) != _amounts(now, r)]
        return any(policies.get(r) == "RestartContainer" for r in changed)

    def _load(self) -> _State | None:
        try:
            with open(self._path, "rb") as file:
                kept = orjson.loads(file.read())
            return _State(kept["admitted"], kept["applied"])
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None

    def _save(self) -> None:
        kept = {"admitted": self._state.admitted, "applied": self._state.applied}
        whole_file.replace(self._path, orjson.dumps(kept))


def asked(pod: Object) -> dict[str, Object]:
    """Container name -> the resources that the spec asks for; under POD those of the pod as a whole, if it has any."""
    whole = pod["spec"].get("resources")
    return {c["name"]: c.get("resources") or {} for c in _containers(pod)} | ({POD: whole} if whole else {})


def with_resources(pod: Object, resources: Mapping[str, Object]) -> Object:
    """The pod with other resources; the same object where they are the same."""
    if asked(pod) == resources:
        return pod
    parts = {
        key: [c | {"resources": resources.get(c["name"], c.get("resources") or {})} for c in pod["spec"].get(key) or ()]
        for key in ("initContainers", "containers")
    }
    whole = {"resources": resources[POD]} if POD in resources else {}
    return {**pod, "spec": {**pod["spec"], **{key: value for key, value in parts.items() if value}, **whole}}


def _containers(pod: Object) -> list[Object]:
    return [*init_containers(pod), *regular_containers(pod)]


def _amounts(resources: Object, name: str) -> tuple[object, ...]:
    parts = (resources.get("requests") or {}, resources.get("limits") or {})
    return tuple(quantity.parse(part[name]) if name in part else None for part in parts)


def _summary(pod: Object, error: str = "") -> str:
    """What is wanted, as upstream's events tell it."""
    spec, out = pod["spec"], dict[str, object]()
    if whole := spec.get("resources"):
        out["resources"] = whole
    for part in ("initContainers", "containers"):
        if told := [{"name": c["name"], "resources": c.get("resources") or {}} for c in spec.get(part) or ()]:
            out[part] = told
    out["generation"] = pod["metadata"].get("generation")
    return orjson.dumps(out | ({"error": error} if error else {})).decode()
