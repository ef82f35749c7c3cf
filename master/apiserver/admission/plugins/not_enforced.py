"""Says so, to whoever writes them, that some kinds are stored here without having any effect yet."""

from ..chain import AdmissionRequest, Plugin

GROUPS = ("autoscaling",)


class NotEnforced(Plugin):
    name = "NotEnforced"

    def handles(self, request: AdmissionRequest) -> bool:
        return request.kind.group in GROUPS and request.operation == "CREATE" and not request.subresource

    async def mutate(self, request: AdmissionRequest) -> None:
        request.warnings.append(f"{request.kind.kind} is stored, but has no effect in this build of Kubeto")
