"""From a patch as it comes over the wire to what it makes of an object."""

from collections.abc import Callable
from typing import Any

import orjson

from apimachinery import patch
from apimachinery.errors import BadRequest, UnsupportedMediaType
from apimachinery.schema import Schemas

from .answers import WriteOptions
from .changes import Transform
from .pipeline import Target

Object = dict[str, Any]
Parse = Callable[[bytes], Any]

MEDIA_TYPES = (patch.JSON_PATCH, patch.MERGE_PATCH, patch.STRATEGIC_MERGE_PATCH, patch.APPLY_PATCH)


def transform(schemas: Schemas, target: Target, media: str, raw: bytes, options: WriteOptions) -> Transform:
    """Raises UnsupportedMediaType, BadRequest; so may the transform, for a patch that does not fit the object."""
    if media not in MEDIA_TYPES:
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: " + ", ".join(MEDIA_TYPES)
        )
    if media == patch.APPLY_PATCH:
        raise UnsupportedMediaType("server-side apply is not served yet")
    change = parse(raw)
    if media == patch.JSON_PATCH:
        return lambda current: patch.json_patch(current, change)
    if media == patch.MERGE_PATCH:
        return lambda current: patch.merge(current, change)
    schema = schemas.of(target.kind)
    return lambda current: patch.strategic_merge(current, change, schema)


def parse(raw: bytes) -> Any:
    """Raises BadRequest."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"error decoding patch: {error}") from error
