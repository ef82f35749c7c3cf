"""Priority: a pod's class name becomes its number; the system's classes stay. Source: KEP-268, KEP-902."""

from apimachinery import scheme

from ...registry.reader import Object, Reader
from ..chain import AdmissionRequest, Plugin
from ..refusal import forbidden

SYSTEM_CLASSES = ("system-cluster-critical", "system-node-critical")
DEFAULT_POLICY = "PreemptLowerPriority"


class Priority(Plugin):
    name = "Priority"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        if request.kind is scheme.PODS:
            return request.operation == "CREATE" and not request.subresource
        return request.kind is scheme.PRIORITY_CLASSES

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.kind is not scheme.PODS or request.object is None:
            return
        spec: Object = request.object.setdefault("spec", {})
        chosen = await self._class_of(request, spec)
        value = chosen["value"] if chosen else 0
        if chosen and not spec.get("priorityClassName"):
            spec["priorityClassName"] = chosen["metadata"]["name"]
        if spec.get("priority") not in (None, value):
            why = (
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
                f"priority admission controller computed {value} from the given PriorityClass name"
            )
            raise forbidden(request, why)
        policy = (chosen or {}).get("preemptionPolicy") or DEFAULT_POLICY
        if spec.get("preemptionPolicy") not in (None, policy):
            why = (
                f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
                f"priority admission controller computed {policy} from the given PriorityClass name"
            )
            raise forbidden(request, why)
        spec["priority"], spec["preemptionPolicy"] = value, policy

    async def validate(self, request: AdmissionRequest) -> None:
        """At most one class is the default for pods without one."""
        if request.operation == "DELETE" and request.name in SYSTEM_CLASSES:
            raise forbidden(request, "this is a system priority class and cannot be deleted")
        if request.kind is not scheme.PRIORITY_CLASSES or not (request.object or {}).get("globalDefault"):
            return
        default = self._global_default()
        if default and default["metadata"]["name"] != request.name:
            other = default["metadata"]["name"]
            raise forbidden(request, f"PriorityClass {other} is already marked as default. Only one default can exist")

    async def _class_of(self, request: AdmissionRequest, spec: Object) -> Object | None:
        name = spec.get("priorityClassName")
        if not name:
            return self._global_default()
        found = self._reader.get(scheme.PRIORITY_CLASSES, "", name)
        found = found or await self._reader.get_consistent(scheme.PRIORITY_CLASSES, "", name)
        if found is None:
            raise forbidden(request, f"no PriorityClass with name {name} was found")
        return found

    def _global_default(self) -> Object | None:
        """Of several (a race of creates), the one with the lowest value, as upstream."""
        defaults = [c for c in self._reader.list(scheme.PRIORITY_CLASSES) if c.get("globalDefault")]
        return min(defaults, key=lambda c: int(c["value"]), default=None)
