"""Who manages which field: what every write records in ``metadata.managedFields``.

A write is recorded as its body stands after defaulting and before admission: what plugins and webhooks add belongs to
nobody. A server-side apply records itself (``patching``); the API server's own bindings and deletions record nothing,
as upstream's.

Source: ``k8s.io/apimachinery/pkg/util/managedfields/internal/fieldmanager.go``,
``k8s.io/apiserver/pkg/endpoints/handlers/fieldmanager``.
"""

from typing import Any

from apimachinery import patch, scheme
from apimachinery.patch.apply import decode
from apimachinery.schema import Schemas
from apimachinery.scheme import Kind

from . import metadata
from .answers import WriteOptions
from .strategy import Strategy

Object = dict[str, Any]

_RESETS: tuple[Any, ...] = ([], [{}])
"""What a client sends to have an object's fields no longer tracked."""
_BUILT_IN = {(k.group, k.resource) for k in scheme.BUILTIN}


def is_typed(kind: Kind) -> bool:
    """Whether objects of a kind are Go structs upstream, with fields that are always there."""
    return (kind.group, kind.resource) in _BUILT_IN


def manager(kind: Kind, subresource: str, options: WriteOptions) -> patch.FieldManager:
    return patch.FieldManager(options.field_manager or "unknown", kind.api_version, metadata.now(), subresource)


def record_create(schemas: Schemas, strategy: Strategy, obj: Object, options: WriteOptions) -> None:
    """Note in a new object who has made it."""
    if options.applying:
        return
    kind, meta = strategy.kind, obj["metadata"]
    meta.pop("managedFields", None)
    said = {k: v for k, v in strategy.shown(obj).items() if k != "status" or "status" not in kind.subresources}
    who = manager(kind, "", options)
    _set(meta, patch.tracked_create(said, schemas.of(kind), who, typed=is_typed(kind)))


def record_update(
    schemas: Schemas, strategy: Strategy, subresource: str, old: Object, obj: Object, options: WriteOptions
) -> None:
    """Note in an object who has changed what since ``old``."""
    if options.applying:
        return
    kind, meta, before = strategy.kind, obj["metadata"], old["metadata"].get("managedFields")
    given = before if subresource else meta.get("managedFields")
    known = {} if given in _RESETS else decode(given) or decode(before)
    if not known:
        meta.pop("managedFields", None)
        return
    shown = strategy.shown
    who = manager(kind, subresource, options)
    _set(meta, patch.tracked_update(shown(old), shown(obj), known, schemas.of(kind), who))


def keep_valid(obj: Object, recorded: Any, warnings: list[str]) -> None:
    """Undo what admission has done to managedFields if that makes no sense."""
    meta = obj["metadata"]
    found = meta.get("managedFields")
    if found is not recorded and found != recorded and decode(found) is None:
        _set(meta, recorded)
        warnings.append(
            ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated "
            "mutating admission controller; please fix your requests"
        )


def is_same(obj: Object, old: Object) -> bool:
    """Whether a write changes nothing but the times in managedFields."""
    if obj == old:
        return True
    now, before = obj["metadata"].get("managedFields"), old["metadata"].get("managedFields")
    if not now or not before or _timeless(now) != _timeless(before):
        return False
    return {**obj, "metadata": {**obj["metadata"], "managedFields": before}} == old


def _timeless(entries: list[Object]) -> list[Object]:
    return [{k: v for k, v in e.items() if k != "time"} for e in entries]


def _set(meta: Object, entries: Any) -> None:
    if entries:
        meta["managedFields"] = entries
    else:
        meta.pop("managedFields", None)
