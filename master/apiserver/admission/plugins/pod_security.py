"""PodSecurity: a namespace's labels say which Pod Security Standard its pods must keep, or are warned about.

``enforce`` refuses pods; ``warn`` warns, of pods and of workloads' templates; ``audit`` notes it in the audit log.
The newest version of a standard is the one that is applied, whatever ``*-version`` says.
"""

from typing import Any

from apimachinery import meta, scheme

from ...registry.reader import Reader
from ..chain import AdmissionRequest, Plugin
from ..pod_security import violations
from ..refusal import forbidden

PREFIX = "pod-security.kubernetes.io/"
_TEMPLATED = {
    scheme.DEPLOYMENTS: ("spec", "template"),
    scheme.REPLICA_SETS: ("spec", "template"),
    scheme.STATEFUL_SETS: ("spec", "template"),
    scheme.DAEMON_SETS: ("spec", "template"),
    scheme.JOBS: ("spec", "template"),
    scheme.kind_of("replicationcontrollers"): ("spec", "template"),
    scheme.kind_of("podtemplates"): ("template",),
    scheme.kind_of("cronjobs", "batch"): ("spec", "jobTemplate", "spec", "template"),
}


class PodSecurity(Plugin):
    name = "PodSecurity"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        if request.operation not in ("CREATE", "UPDATE"):
            return False
        if request.kind is scheme.PODS:
            return request.subresource in ("", "ephemeralcontainers")
        return request.kind in _TEMPLATED and not request.subresource

    async def validate(self, request: AdmissionRequest) -> None:
        namespace = self._reader.get(scheme.NAMESPACES, "", request.namespace)
        labels = meta.labels_of(namespace) if namespace else {}
        if not any(key.startswith(PREFIX) for key in labels) or request.object is None:
            return
        spec, is_pod = _pod_spec(request), request.kind is scheme.PODS
        if is_pod and PREFIX + "enforce" in labels:
            request.annotations[PREFIX + "enforce-policy"] = f"{labels[PREFIX + 'enforce']}:latest"
        if found := violations(labels.get(PREFIX + "audit", ""), spec):
            request.annotations[PREFIX + "audit-violations"] = _text(labels[PREFIX + "audit"], found, "would violate")
        if is_pod and (found := violations(labels.get(PREFIX + "enforce", ""), spec)):
            raise forbidden(request, _text(labels[PREFIX + "enforce"], found, "violates"))
        if found := violations(labels.get(PREFIX + "warn", ""), spec):
            request.warnings.append(_text(labels[PREFIX + "warn"], found, "would violate"))


def _pod_spec(request: AdmissionRequest) -> dict[str, Any]:
    part: Any = request.object
    for key in _TEMPLATED.get(request.kind, ()):
        part = (part or {}).get(key)
    return (part or {}).get("spec") or {}


def _text(level: str, found: list[str], verb: str) -> str:
    return f'{verb} PodSecurity "{level}:latest": {", ".join(found)}'
