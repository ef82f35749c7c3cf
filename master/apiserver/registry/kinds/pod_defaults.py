"""Upstream's defaults of a pod and of everything that has a pod template.

Each function changes its argument in place and is idempotent. What only a Pod gets (requests from limits, service
links, host ports) is not put into templates, or a Deployment's template would never equal its ReplicaSet's.

Source: ``k8s.io/kubernetes/pkg/apis/core/v1/defaults.go``.
"""

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

DEFAULT_MODE = 0o644
_FIELD_REF_VERSION = "v1"
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def default_pod(pod: Object) -> None:
    """A whole Pod: its spec, and what templates don't get."""
    spec = pod.setdefault("spec", {})
    default_pod_spec(spec)
    for container in _ordinary(spec):
        _requests_from_limits(container.get("resources") or {})
        if spec.get("hostNetwork"):
            _host_ports(container)
    _pod_level_requests(spec)
    spec.setdefault("enableServiceLinks", True)


def default_template(holder: Object) -> None:
    """The ``template`` of a workload's spec, if it has one."""
    template = holder.get("template")
    if template is not None:
        template.setdefault("metadata", {})
        default_pod_spec(template.setdefault("spec", {}))


def default_pod_spec(spec: Object) -> None:
    set_default(spec, "restartPolicy", "Always")
    set_default(spec, "dnsPolicy", "ClusterFirst")
    set_default(spec, "schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for volume in spec.get("volumes") or ():
        default_volume(volume)
    for container in all_containers(spec):
        default_container(container)


def all_containers(spec: Object) -> Iterator[Object]:
    yield from _ordinary(spec)
    yield from spec.get("ephemeralContainers") or ()


def _ordinary(spec: Object) -> Iterator[Object]:
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def set_default(obj: Object, key: str, value: Any) -> None:
    """Set a field that counts as absent when it is empty."""
    if not obj.get(key):
        obj[key] = value


def default_container(container: Object) -> None:
    set_default(container, "imagePullPolicy", _pull_policy(container.get("image", "")))
    set_default(container, "terminationMessagePath", "/dev/termination-log")
    set_default(container, "terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    for port in container.get("ports") or ():
        set_default(port, "protocol", "TCP")
    for variable in container.get("env") or ():
        _env_source(variable.get("valueFrom") or {})
    for name in _PROBES:
        if container.get(name) is not None:
            _probe(container[name])
    for handler in (container.get("lifecycle") or {}).values():
        if isinstance(handler, dict):
            _http_get(handler)


def _pull_policy(image: str) -> str:
    name = image.partition("@")[0].rpartition("/")[2]
    tag = name.partition(":")[2]
    latest = tag == "latest" or (not tag and "@" not in image)
    return "Always" if latest else "IfNotPresent"


def _env_source(source: Object) -> None:
    if source.get("fieldRef") is not None:
        set_default(source["fieldRef"], "apiVersion", _FIELD_REF_VERSION)
    if source.get("resourceFieldRef") is not None:
        source["resourceFieldRef"].setdefault("divisor", "0")


def _probe(probe: Object) -> None:
    set_default(probe, "timeoutSeconds", 1)
    set_default(probe, "periodSeconds", 10)
    set_default(probe, "successThreshold", 1)
    set_default(probe, "failureThreshold", 3)
    _http_get(probe)
    if probe.get("grpc") is not None:
        probe["grpc"].setdefault("service", "")


def _http_get(handler: Object) -> None:
    action = handler.get("httpGet")
    if action is not None:
        set_default(action, "path", "/")
        set_default(action, "scheme", "HTTP")


def default_volume(volume: Object) -> None:
    if not any(isinstance(v, dict) for v in volume.values()):
        volume["emptyDir"] = {}
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if volume.get(source) is not None:
            volume[source].setdefault("defaultMode", DEFAULT_MODE)
    _downward_items(volume.get("downwardAPI") or {})
    for source in (volume.get("projected") or {}).get("sources") or ():
        _downward_items(source.get("downwardAPI") or {})
        if source.get("serviceAccountToken") is not None:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    if volume.get("hostPath") is not None:
        volume["hostPath"].setdefault("type", "")
    if volume.get("image") is not None:
        set_default(volume["image"], "pullPolicy", _pull_policy(volume["image"].get("reference", "")))
    claim = ((volume.get("ephemeral") or {}).get("volumeClaimTemplate") or {}).get("spec")
    if claim is not None:
        claim.setdefault("volumeMode", "Filesystem")


def _downward_items(source: Object) -> None:
    for item in source.get("items") or ():
        _env_source(item)


def _requests_from_limits(resources: Object) -> None:
    limits = resources.get("limits")
    if limits is not None:
        requests = resources.setdefault("requests", {})
        for name, amount in limits.items():
            requests.setdefault(name, amount)


def _pod_level_requests(spec: Object) -> None:
    resources = spec.get("resources") or {}
    if resources.get("limits") and not any((c.get("resources") or {}).get("requests") for c in _ordinary(spec)):
        _requests_from_limits(resources)


def _host_ports(container: Object) -> None:
    for port in container.get("ports") or ():
        set_default(port, "hostPort", port.get("containerPort"))
