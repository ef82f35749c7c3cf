"""How admission plugins say no."""

from collections.abc import Iterable

from apimachinery.errors import Cause, Forbidden

from .chain import AdmissionRequest


def forbidden(request: AdmissionRequest, why: str, causes: Iterable[Cause] = ()) -> Forbidden:
    """Upstream's form: ``pods "web" is forbidden: why``."""
    name = object_name(request)
    return Forbidden(
        f'{request.kind.group_resource} "{name}" is forbidden: {why}',
        name=name,
        group=request.kind.group,
        kind=request.kind.resource,
        causes=causes,
    )


def object_name(request: AdmissionRequest) -> str:
    """The object's name; its generateName where it has none yet."""
    meta = (request.object or {}).get("metadata") or {}
    return request.name or meta.get("name") or meta.get("generateName") or "Unknown"
