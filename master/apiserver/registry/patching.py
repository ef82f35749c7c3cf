"""From a patch as it comes over the wire to what it makes of an object."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from apimachinery import patch
from apimachinery.errors import BadRequest, NotImplementedByServer, UnsupportedMediaType
from apimachinery.schema import FieldProblem, Schemas

from . import metadata
from .answers import WriteOptions
from .pipeline import Pipeline, Target

Object = dict[str, Any]
Transform = Callable[[Object], Object]
"""Makes the body of an update of the current object, which is the transform's own copy ({} if there is none)."""
_STATUS_WRITES = ("apiVersion", "kind", "metadata", "status")

MEDIA_TYPES = (patch.JSON_PATCH, patch.MERGE_PATCH, patch.STRATEGIC_MERGE_PATCH, patch.APPLY_PATCH)


def transform(pipeline: Pipeline, target: Target, media: str, raw: bytes, options: WriteOptions) -> Transform:
    """Raises UnsupportedMediaType, BadRequest; so may the transform, for a patch that does not fit the object."""
    if media not in MEDIA_TYPES:
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: " + ", ".join(MEDIA_TYPES)
        )
    change = parse(raw)
    if media == patch.APPLY_PATCH:
        return apply(pipeline, target, change, options)
    if media == patch.JSON_PATCH:
        return lambda current: patch.json_patch(current, change)
    if media == patch.MERGE_PATCH:
        return lambda current: patch.merge(current, change)
    schema = pipeline.schemas.of(target.kind)
    return lambda current: patch.strategic_merge(current, change, schema)


def apply(pipeline: Pipeline, target: Target, wanted: Any, options: WriteOptions) -> Transform:
    """Server-side apply. Raises BadRequest, for what the schema does not have, too; the transform Conflict."""
    kind = target.kind
    if not isinstance(wanted, dict):
        raise BadRequest("error decoding YAML: the applied configuration must be an object")
    if (wanted.get("apiVersion"), wanted.get("kind")) != (kind.api_version, kind.kind):
        raise BadRequest(f"the applied configuration must be of kind {kind.kind} in {kind.api_version}")
    if target.subresource not in ("", "status"):
        raise NotImplementedByServer(f"server-side apply on the {target.subresource} subresource is not supported")
    _refuse_untyped(target, pipeline.schemas.check(kind, wanted))
    wanted.setdefault("metadata", {}).setdefault("name", target.name)
    options.applying = True
    schema = pipeline.schemas.of(kind)
    main = () if "status" not in kind.subresources else ("status",)
    ignored = main if not target.subresource else tuple(k for k in wanted if k not in _STATUS_WRITES)
    manager = patch.FieldManager(
        options.field_manager, kind.api_version, metadata.now(), subresource=target.subresource, ignored=ignored
    )
    defaults = pipeline.catalog.strategy(kind).default
    return lambda current: patch.apply(current or None, wanted, schema, manager, force=options.force, defaults=defaults)


def _refuse_untyped(target: Target, problems: Sequence[FieldProblem]) -> None:
    """Apply needs every field's type. Raises BadRequest with all that the schema does not have, in upstream's
    words; upstream itself answers 500, though nothing is wrong with the server."""
    if not problems:
        return
    why = [f".{p.path}: field not declared in schema" if p.form == "unknown" else p.message for p in problems]
    told = why[0] if len(why) == 1 else "".join(["errors:", *(f"\n  {w}" for w in why)])
    kind = target.kind
    about = f"{target.namespace}/{target.name}; {kind.group}/{kind.version}, Kind={kind.kind}"
    raise BadRequest(f"failed to create typed patch object ({about}): {told}")


def track(schemas: Schemas, target: Target, old: Object, obj: Object, options: WriteOptions) -> None:
    """After a plain write: who owns what now, where anybody has applied."""
    if not options.applying and old["metadata"].get("managedFields"):
        kind = target.kind
        manager = patch.FieldManager(
            options.field_manager or "unknown", kind.api_version, metadata.now(), subresource=target.subresource
        )
        patch.track(old, obj, schemas.of(kind), manager)


def parse(raw: bytes) -> Any:
    """Raises BadRequest."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"error decoding patch: {error}") from error
