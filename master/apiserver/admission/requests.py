"""An admission request as a webhook reads it, and as CEL's variable ``request``. Pure."""

from typing import Any

from apimachinery import scheme
from apimachinery.scheme import Kind

from ..registry.subresources import subresource_kind
from .chain import AdmissionRequest

Object = dict[str, Any]


def request_json(request: AdmissionRequest, kind: Kind) -> Object:
    """The request without its objects, as who wants to see ``kind`` gets it."""
    user = request.user
    told: Object = {
        "kind": _kind_json(kind, request.subresource),
        "resource": _resource_json(kind),
        "subResource": request.subresource,
        "requestKind": _kind_json(request.kind, request.subresource),
        "requestResource": _resource_json(request.kind),
        "requestSubResource": request.subresource,
        "name": request.name,
        # A Namespace counts as being inside itself.
        "namespace": request.name if request.kind is scheme.NAMESPACES else request.namespace,
        "operation": request.operation,
        "userInfo": {"username": user.name, "groups": list(user.groups)},
        "dryRun": request.dry_run,
        "options": request.options or None,
    }
    if user.uid:
        told["userInfo"]["uid"] = user.uid
    if user.extra:
        told["userInfo"]["extra"] = {k: list(v) for k, v in user.extra.items()}
    return {k: v for k, v in told.items() if v != ""}


def _kind_json(kind: Kind, subresource: str) -> Object:
    group, version, name, _ = subresource_kind(kind, subresource)
    return {"group": group, "version": version, "kind": name}


def _resource_json(kind: Kind) -> Object:
    return {"group": kind.group, "version": kind.version, "resource": kind.resource}
