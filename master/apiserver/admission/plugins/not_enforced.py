"""Says so, to whoever writes them, that some kinds are stored here without having any effect yet."""

from ..chain import AdmissionRequest, Plugin

GROUPS = ("admissionregistration.k8s.io", "autoscaling")


class NotEnforced(Plugin):
    name = "NotEnforced"

    def handles(self, request: AdmissionRequest) -> bool:
        kind = request.kind
        stored_only = kind.group in GROUPS and not kind.resource.endswith("webhookconfigurations")
        return stored_only and request.operation == "CREATE" and not request.subresource

    async def mutate(self, request: AdmissionRequest) -> None:
        request.warnings.append(f"{request.kind.kind} is stored, but has no effect in this build of Kubeto")
