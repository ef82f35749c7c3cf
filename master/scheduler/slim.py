"""Cuts from objects what no decision reads, before the informers keep them: a cluster has many pods."""

from typing import Any

from apimachinery.client.informer import drop_managed_fields

Object = dict[str, Any]
_CONTAINER = ("name", "image", "resources", "ports", "restartPolicy")
_STATUS = ("phase", "conditions", "startTime", "nominatedNodeName", "containerStatuses", "initContainerStatuses")
_CONTAINER_STATUS = ("name", "allocatedResources", "resources")
_UNREAD_SPEC = ("ephemeralContainers", "securityContext", "hostAliases", "dnsConfig", "imagePullSecrets")


def _only(obj: Object, names: tuple[str, ...]) -> Object:
    return {name: obj[name] for name in names if name in obj}


def slim_pod(pod: Object) -> Object:
    """What shapes, events and preemption need of a pod. Takes the object over."""
    drop_managed_fields(pod)
    spec, status = pod.get("spec") or {}, _only(pod.get("status") or {}, _STATUS)
    for part in ("containers", "initContainers"):
        if part in spec:
            spec[part] = [_only(c, _CONTAINER) for c in spec[part]]
    for part in _UNREAD_SPEC:
        spec.pop(part, None)
    for part in ("containerStatuses", "initContainerStatuses"):
        if part in status:
            status[part] = [_only(c, _CONTAINER_STATUS) for c in status[part]]
    spec["volumes"] = [v for v in spec.get("volumes") or () if v.get("persistentVolumeClaim") or v.get("ephemeral")]
    return {**pod, "spec": spec, "status": status}


def slim_owner(owner: Object) -> Object:
    """What ``Peers`` needs of a pod owner: its selector."""
    spec = {"selector": (owner.get("spec") or {}).get("selector")}
    names = ("name", "namespace", "uid", "resourceVersion")
    return {"kind": owner.get("kind"), "metadata": _only(owner["metadata"], names), "spec": spec}
