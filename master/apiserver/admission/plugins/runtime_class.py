"""RuntimeClass: a pod's class must exist, and brings its overhead and its scheduling. Source: KEP-585, KEP-688."""

import copy

from apimachinery import scheme

from ...registry.reader import Object, Reader
from ..chain import AdmissionRequest, Plugin
from ..refusal import forbidden

RUNTIME_CLASSES = scheme.kind_of("runtimeclasses", "node.k8s.io")


class RuntimeClass(Plugin):
    name = "RuntimeClass"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        return request.kind is scheme.PODS and request.operation == "CREATE" and not request.subresource

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.object is None:
            return
        spec: Object = request.object.setdefault("spec", {})
        runtime_class = await self._class(request, spec)
        overhead = ((runtime_class or {}).get("overhead") or {}).get("podFixed")
        if overhead:
            if spec.get("overhead") not in (None, {}, overhead):
                raise forbidden(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
            spec["overhead"] = dict(overhead)
        elif spec.get("overhead"):
            why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            raise forbidden(request, why)
        _schedule(request, spec, (runtime_class or {}).get("scheduling") or {})

    async def _class(self, request: AdmissionRequest, spec: Object) -> Object | None:
        name = spec.get("runtimeClassName")
        if not name:
            return None
        found = self._reader.get(RUNTIME_CLASSES, "", name)
        found = found or await self._reader.get_consistent(RUNTIME_CLASSES, "", name)
        if found is None:
            raise forbidden(request, f'pod rejected: RuntimeClass "{name}" not found')
        return found


def _schedule(request: AdmissionRequest, spec: Object, scheduling: Object) -> None:
    selector = spec.get("nodeSelector") or {}
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.setdefault(key, value) != value:
            why = f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = "
            raise forbidden(request, why + selector[key])
    if selector:
        spec["nodeSelector"] = selector
    tolerations = spec.get("tolerations") or []
    missing = [copy.deepcopy(t) for t in scheduling.get("tolerations") or () if t not in tolerations]
    if missing:
        spec["tolerations"] = [*tolerations, *missing]
