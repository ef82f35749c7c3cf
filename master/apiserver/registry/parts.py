"""The parts of an object that its subresources write: what of a body counts, and what the rest of the object keeps.

Pure. ``merge`` is the whole object after a write to a subresource.
"""

from typing import Any

from apimachinery.errors import BadRequest
from apimachinery.patch import copy
from apimachinery.scheme import Kind
from apimachinery.selectors import from_map, from_object

from . import metadata

Object = dict[str, Any]

SCALE = {"kind": "Scale", "apiVersion": "autoscaling/v1"}
_SCALE_META = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def merge(kind: Kind, subresource: str, body: Object, old: Object) -> Object:
    """The object that a write of ``body`` to the subresource makes of ``old``; a Scale is its strategy's business."""
    match subresource:
        case "":
            return _main(kind, body, old)
        case "status":
            return metadata.status_only(body, old)
        case "approval":
            conditions = (body.get("status") or {}).get("conditions")
            merged = metadata.status_only(body, old)
            return merged | {"status": {**(old.get("status") or {}), "conditions": conditions or []}}
    return old | {"spec": _spec(subresource, body, old)}


def applicable(kind: Kind, subresource: str, wanted: Object, replicas_path: str = "spec.replicas") -> Object:
    """What of an applied configuration a subresource writes, as an object of the kind."""
    if subresource == "":
        return {k: v for k, v in wanted.items() if k != "status" or "status" not in kind.subresources}
    meta = wanted.get("metadata") or {}
    kept = _APPLIED_META if subresource == "status" else _APPLIED_META[:4]
    out: Object = {"apiVersion": kind.api_version, "kind": kind.kind}
    out["metadata"] = {k: v for k, v in meta.items() if k in kept}
    field, name = _APPLIES.get(subresource, ("spec", subresource))
    value = wanted.get(field)
    if subresource == "scale" and isinstance(value, dict) and value.get("replicas") is not None:
        return _put(out, replicas_path, value["replicas"])
    if subresource != "status" and isinstance(value, dict):
        value = {name: value[name]} if name in value else {}
        if subresource == "resize" and name in value:
            value[name] = [{k: c[k] for k in _RESIZED if k in c} for c in value[name]]
    return out if value is None else out | {field: value}


_APPLIED_META = ("name", "namespace", "uid", "resourceVersion", "labels", "annotations", "managedFields")
_APPLIES = {
    "status": ("status", ""),
    "scale": ("spec", "replicas"),
    "finalize": ("spec", "finalizers"),
    "ephemeralcontainers": ("spec", "ephemeralContainers"),
    "resize": ("spec", "containers"),
    "approval": ("status", "conditions"),
}
_RESIZED = ("name", "resources", "resizePolicy")


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
            for part in spec.keys() & {"containers", "initContainers"}:
                wanted = {c.get("name"): c for c in new.get(part) or ()}
                spec[part] = [_resized(c, wanted.get(c["name"])) for c in spec[part]]
            if "resources" in new:
                spec["resources"] = new["resources"]
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
    return scale(obj, spec.get("replicas") or 0, status.get("replicas", 0), str(parsed))


def scale(obj: Object, wanted: int, current: int, selector: str) -> Object:
    """A Scale of an object."""
    status: Object = {"replicas": current}
    if selector:
        status["selector"] = selector
    return {
        **SCALE,
        "metadata": {k: obj["metadata"][k] for k in _SCALE_META if k in obj["metadata"]},
        "spec": {"replicas": wanted} if wanted else {},
        "status": status,
    }


def _put(obj: Object, path: str, value: Any) -> Object:
    """The object with a value at a dotted path, in place."""
    *way, last = path.split(".")
    holder = obj
    for name in way:
        holder = holder.setdefault(name, {})
    holder[last] = value
    return obj


def from_scale(scale: Object, old: Object, path: str = "spec.replicas") -> Object:
    """The object with the replicas of a Scale at ``path``. Raises BadRequest."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        raise BadRequest(f"spec.replicas: Invalid value: {replicas}: must be greater than or equal to 0")
    new = _put(copy(old), path, replicas)
    new["metadata"]["resourceVersion"] = (scale.get("metadata") or {}).get("resourceVersion", "")
    return new
