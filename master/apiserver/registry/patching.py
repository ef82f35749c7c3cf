"""From a patch as it comes over the wire to what it makes of an object."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from apimachinery import patch
from apimachinery import schema as schema_rules
from apimachinery.errors import BadRequest, UnsupportedMediaType
from apimachinery.patch import typed
from apimachinery.scheme import Kind

from . import managed_fields, parts
from .answers import WriteOptions
from .pipeline import Pipeline, Target

Object = dict[str, Any]
Transform = Callable[[Object], Object]
"""Makes the body of an update of the current object, which is the transform's own copy ({} if there is none)."""
SCALE = Kind("autoscaling", "v1", "Scale", "")

MEDIA_TYPES = (patch.JSON_PATCH, patch.MERGE_PATCH, patch.STRATEGIC_MERGE_PATCH, patch.APPLY_PATCH)


def transform(pipeline: Pipeline, target: Target, media: str, raw: bytes, options: WriteOptions) -> Transform:
    """Raises UnsupportedMediaType, BadRequest; so may the transform, for a patch that does not fit the object."""
    custom = pipeline.catalog.strategy(target.kind).translated
    accepted = [m for m in MEDIA_TYPES if m != patch.STRATEGIC_MERGE_PATCH] if custom else MEDIA_TYPES
    if media not in accepted:
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
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
    """Server-side apply: its transform makes the whole object of the whole object, whatever the subresource.

    Raises BadRequest, for what the schema does not have, too; the transform Conflict.
    """
    kind = target.kind
    takes = SCALE if target.subresource == "scale" else kind
    if not isinstance(wanted, dict):
        raise BadRequest("error decoding YAML: the applied configuration must be an object")
    if (wanted.get("apiVersion"), wanted.get("kind")) != (takes.api_version, takes.kind):
        group, _, version = str(wanted.get("apiVersion", "")).rpartition("/")
        raise BadRequest(f"invalid object type: {group}/{version}, Kind={wanted.get('kind', '')}")
    if not isinstance(wanted.setdefault("metadata", {}), dict):
        wanted["metadata"] = {}
    wanted["metadata"].setdefault("name", target.name)
    schemas = pipeline.schemas
    _refuse_untyped(target, takes, typed.problems(wanted, schemas.of(takes)))
    # An applied zero stays until it is merged: it says that the field is to be so, and whose it is.
    wrong = next((p for p in schemas.check(takes, wanted, keep_empty=True) if p.form == "type"), None)
    if wrong:  # else the field would be left out, and so taken away from who applied it before
        raise schema_rules.DecodingError(takes, wrong.message)
    options.applying = True
    path = pipeline.catalog.strategy(kind).replicas_path
    schema, written = schemas.of(kind), parts.applicable(kind, target.subresource, wanted, path)
    manager = managed_fields.manager(kind, target.subresource, options)
    is_typed = managed_fields.is_typed(kind)

    def as_stored(obj: Object) -> Object:
        made: Object = patch.copy(obj)
        schemas.check(kind, made)
        return made

    return lambda current: patch.apply(
        current or None, written, schema, manager, force=options.force, typed=is_typed, as_stored=as_stored
    )


def _refuse_untyped(target: Target, takes: Kind, problems: Sequence[str]) -> None:
    """Apply needs every field's type. Raises BadRequest with all that the schema does not have, in upstream's
    words; upstream itself answers 500, though nothing is wrong with the server."""
    if not problems:
        return
    told = problems[0] if len(problems) == 1 else "\n".join(["errors:", *(f"  {p}" for p in problems)])
    about = f"{target.namespace}/{target.name}; {takes.group}/{takes.version}, Kind={takes.kind}"
    raise BadRequest(f"failed to create typed patch object ({about}): {told}")


def parse(raw: bytes) -> Any:
    """Raises BadRequest."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"error decoding patch: {error}") from error
