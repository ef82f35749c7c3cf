"""Writing status: only what changed, and never over someone else's change."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from apimachinery.client.api import ApiClient
from apimachinery.errors import NotFound
from apimachinery.meta import Object
from apimachinery.scheme import Kind

_EMPTY: Final[tuple[Any, ...]] = (None, {}, [])
_ZERO: Final = (*_EMPTY, 0, "")
"""And False. Most zeros of a status are not stored, and none that appears is news."""


async def write_status(
    client: ApiClient, kind: Kind, obj: Object, status: Object, *, annotations: Mapping[str, str] | None = None
) -> Object | None:
    """Store ``status`` (and annotations) as those of ``obj``. None if that is what it has, or it is gone.

    Raises Conflict if ``obj`` is not the newest: the reconcile is tried again and computes from what is there
    then, so that conditions which others added survive.
    """
    metadata = obj["metadata"]
    wanted = {**(metadata.get("annotations") or {}), **(annotations or {})}
    if same(obj.get("status"), status, _ZERO) and wanted == (metadata.get("annotations") or {}):
        return None
    new = {**obj, "status": status}
    if wanted:
        new["metadata"] = {**metadata, "annotations": wanted}
    try:
        return await client.update(kind, new, subresource="status")
    except NotFound:
        return None


def same(one: Any, other: Any, nothing: Sequence[Any] = _EMPTY) -> bool:
    """Equal but for members that hold ``nothing``: nulls and empty maps and lists mean the same as no member."""
    return bool(_bare(one, nothing) == _bare(other, nothing))


def _bare(value: Any, nothing: Sequence[Any]) -> Any:
    if isinstance(value, dict):
        return {k: b for k, v in value.items() if (b := _bare(v, nothing)) not in nothing} or None
    if isinstance(value, list):
        return [_bare(v, nothing) for v in value] or None
    return value
