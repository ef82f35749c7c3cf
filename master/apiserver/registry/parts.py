"""The parts of an object that its subresources write: what of a body counts, and what the rest of the object keeps.

Pure. ``view`` is what a GET of the subresource shows; ``merge`` is the whole object after a write to it.
"""

from typing import Any

from apimachinery.errors import BadRequest
from apimachinery.patch import copy
from apimachinery.scheme import Kind
from apimachinery.selectors import from_map, from_object

from . import metadata

Object = dict[str, Any]

WRITABLE = ("status", "scale", "finalize", "ephemeralcontainers", "resize", "approval")
_SCALE_META = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def view(kind: Kind, subresource: str, obj: Object) -> Object:
    """The object as the subresource shows it."""
    return to_scale(kind, obj) if subresource == "scale" else obj


def merge(kind: Kind, subresource: str, body: Object, old: Object) -> Object:
    """The object that a write of ``body`` to the subresource makes of ``old``. Raises BadRequest."""
    match subresource:
        case "":
            return _main(kind, body, old)
        case "status":
            return metadata.status_only(body, old)
        case "scale":
            return from_scale(body, old)
        case "approval":
            conditions = (body.get("status") or {}).get("conditions")
            merged = metadata.status_only(body, old)
            return merged | {"status": {**(old.get("status") or {}), "conditions": conditions or []}}
    return old | {"spec": _spec(subresource, body, old)}


def _main(kind: Kind, body: Object, old: Object) -> Object:
    if "status" in kind.subresources:
        body = {k: v for k, v in body.items() if k != "status"}
        if "status" in old:
            body["status"] = old["status"]
    return body


def _spec(subresource: str, body: Object, old: Object) -> Object:
    new, spec = body.get("spec") or {}, dict(old.get("spec") or {})
    match subresource:
        case "finalize":
            spec["finalizers"] = new.get("finalizers") or []
        case "ephemeralcontainers":
            spec["ephemeralContainers"] = new.get("ephemeralContainers") or []
        case "resize":
            wanted = {c.get("name"): c for c in new.get("containers") or ()}
            spec["containers"] = [_resized(c, wanted.get(c["name"])) for c in spec["containers"]]
    return spec


def _resized(container: Object, wanted: Object | None) -> Object:
    if wanted is None:
        return container
    return container | {k: wanted[k] for k in ("resources", "resizePolicy") if k in wanted}


def to_scale(kind: Kind, obj: Object) -> Object:
    """``autoscaling/v1`` Scale of a workload."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    selector = spec.get("selector")
    parsed = from_map(selector) if kind.resource == "replicationcontrollers" else from_object(selector)
    scale_status: Object = {"replicas": status.get("replicas", 0)}
    if str(parsed):
        scale_status["selector"] = str(parsed)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {k: obj["metadata"][k] for k in _SCALE_META if k in obj["metadata"]},
        "spec": {"replicas": spec["replicas"]} if spec.get("replicas") else {},
        "status": scale_status,
    }


def from_scale(scale: Object, old: Object) -> Object:
    """The workload with the replicas of a Scale. Raises BadRequest."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        raise BadRequest(f"spec.replicas: Invalid value: {replicas}: must be greater than or equal to 0")
    new = copy(old)
    new["spec"]["replicas"] = replicas
    new["metadata"]["resourceVersion"] = (scale.get("metadata") or {}).get("resourceVersion", "")
    result: Object = new
    return result
