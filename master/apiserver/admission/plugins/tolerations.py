"""DefaultTolerationSeconds and TaintNodesByCondition: what a lost node means for pods, and a new one for scheduling."""

from typing import Any

from apimachinery import scheme

from ..chain import AdmissionRequest, Plugin

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
DEFAULT_SECONDS = 300


class DefaultTolerationSeconds(Plugin):
    """Pods stay five minutes on a node that is not ready or unreachable, unless they say otherwise."""

    name = "DefaultTolerationSeconds"

    def handles(self, request: AdmissionRequest) -> bool:
        return request.kind is scheme.PODS and request.operation in ("CREATE", "UPDATE") and not request.subresource

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.object is None:
            return
        spec = request.object.setdefault("spec", {})
        tolerations = spec.get("tolerations") or []
        added = [
            _toleration(key) for key in (NOT_READY, UNREACHABLE) if not any(_tolerates(t, key) for t in tolerations)
        ]
        if added:
            spec["tolerations"] = [*tolerations, *added]


def _tolerates(toleration: dict[str, Any], key: str) -> bool:
    return toleration.get("key") in (key, "", None) and toleration.get("effect") in ("NoExecute", "", None)


def _toleration(key: str) -> dict[str, Any]:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": DEFAULT_SECONDS}


class TaintNodesByCondition(Plugin):
    """A new node takes no pods before a controller has seen it ready."""

    name = "TaintNodesByCondition"

    def handles(self, request: AdmissionRequest) -> bool:
        return request.kind is scheme.NODES and request.operation == "CREATE" and not request.subresource

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.object is None:
            return
        spec = request.object.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
            spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]
