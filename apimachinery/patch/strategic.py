"""Strategic merge patch: lists are merged by the key that the schema names, and directives steer the rest.

``$patch: replace|delete|merge`` in a map or a list element, ``$retainKeys``, ``$setElementOrder/<field>`` and
``$deleteFromPrimitiveList/<field>`` act as upstream's do.

Source: ``k8s.io/apimachinery/pkg/util/strategicpatch/patch.go``.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from apimachinery.errors import BadRequest
from apimachinery.patch.json import copy

Object = dict[str, Any]

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE_FROM = "$deleteFromPrimitiveList/"


class MergeSchema(Protocol):
    """What merging needs to know of a type."""

    @property
    def merge_key(self) -> str: ...
    @property
    def strategies(self) -> tuple[str, ...]: ...
    @property
    def item(self) -> "MergeSchema | None": ...
    def field(self, name: str) -> "MergeSchema | None": ...


def strategic_merge(obj: Object, patch: Any, schema: MergeSchema | None) -> Object:
    """Apply a strategic merge patch. Raises BadRequest for a patch that is not one.

    Without a schema (a part that has none) maps merge and lists are replaced.
    """
    if not isinstance(patch, dict):
        raise BadRequest("the strategic merge patch must be a JSON object")
    return _merge_map(copy(obj), copy(patch), schema)


def _field(schema: MergeSchema | None, name: str) -> MergeSchema | None:
    return schema.field(name) if schema is not None else None


def _merge_map(original: Object, patch: Object, schema: MergeSchema | None) -> Object:
    match patch.pop(_PATCH, None):
        case None | "merge":
            pass
        case "replace":
            return {k: _clean(v) for k, v in patch.items() if v is not None}
        case "delete":
            return {}
        case other:
            raise BadRequest(f"Unknown patch type found: {other}")
    _retain_keys(original, patch)
    _merge_ordered_lists(original, patch, schema)
    for key, value in patch.items():
        if key.startswith(_DELETE_FROM):
            _delete_from(original, key.removeprefix(_DELETE_FROM), value)
        elif value is None:
            original.pop(key, None)
        else:
            original[key] = _merge_value(original.get(key), value, _field(schema, key))
    return original


def _retain_keys(original: Object, patch: Object) -> None:
    keep = patch.pop(_RETAIN, None)
    if keep is None:
        return
    if not isinstance(keep, list) or any(key not in keep for key in patch if not key.startswith("$")):
        raise BadRequest("the fields in the patch must be a subset of the fields in $retainKeys")
    for key in [k for k in original if k not in keep]:
        del original[key]


def _delete_from(original: Object, key: str, values: Any) -> None:
    if not isinstance(values, list):
        raise BadRequest(f"{_DELETE_FROM}{key} must be a list")
    if isinstance(original.get(key), list):
        original[key] = [item for item in original[key] if item not in values]


def _merge_value(original: Any, patch: Any, schema: MergeSchema | None) -> Any:
    replace = schema is not None and "replace" in schema.strategies
    if isinstance(original, dict) and isinstance(patch, dict) and not replace:
        return _merge_map(original, patch, schema)
    if isinstance(original, list) and isinstance(patch, list) and schema is not None and "merge" in schema.strategies:
        return _merge_list(original, patch, schema)
    return _clean(patch)


def _clean(value: Any) -> Any:
    """What a patch says where nothing was before: no nulls, no directives, no elements that only delete."""
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in value.items() if v is not None and not k.startswith("$")}
    if isinstance(value, list):
        items = [i for i in value if not (isinstance(i, dict) and i.get(_PATCH) in ("delete", "replace"))]
        return [_clean(i) for i in items]
    return value


def _merge_list(original: list[Any], patch: list[Any], schema: MergeSchema) -> list[Any]:
    if not _holds_maps([*original, *patch]):
        merged = original + [item for item in _unique(patch) if item not in original]
        return in_order(merged, patch, original, lambda item: item)
    key = schema.merge_key
    _require_key(patch, key)
    specials = [i for i in patch if i.get(_PATCH) in ("delete", "replace")]
    changes = [i for i in patch if i.get(_PATCH) not in ("delete", "replace")]
    if any(i[_PATCH] == "replace" for i in specials):
        return [_clean(i) for i in changes]
    gone = [i.get(key) for i in specials]
    merged = [i for i in original if i.get(key) not in gone]
    for change in changes:
        _merge_element(merged, change, key, schema.item)
    return in_order(merged, changes, original, lambda item: item.get(key))


def _holds_maps(items: list[Any]) -> bool:
    maps = [isinstance(i, dict) for i in items]
    if any(maps) and not all(maps):
        raise BadRequest("list element types are not identical")
    return any(maps)


def _require_key(patch: list[Object], key: str) -> None:
    for item in patch:
        if item.get(key) is None and item.get(_PATCH) != "replace":
            raise BadRequest(f"map: {item} does not contain declared merge key: {key}")


def _merge_element(merged: list[Any], change: Object, key: str, schema: MergeSchema | None) -> None:
    for index, item in enumerate(merged):
        if item.get(key) == change[key]:
            merged[index] = _merge_map(item, change, schema)
            return
    merged.append(_clean(change))


def _unique(items: Iterable[Any]) -> list[Any]:
    out: list[Any] = []
    for item in items:
        if item not in out:
            out.append(item)
    return out


def _merge_ordered_lists(original: Object, patch: Object, schema: MergeSchema | None) -> None:
    """Merge the lists for which the patch gives the final order of its own elements, and take them out of it."""
    for directive in [k for k in patch if k.startswith(_ORDER)]:
        name = directive.removeprefix(_ORDER)
        order = patch.pop(directive)
        if not isinstance(order, list):
            raise BadRequest(f"{directive} must be a list")
        changes = patch.pop(name, None)
        removed = patch.pop(_DELETE_FROM + name, None)
        before = original.get(name)
        if removed is not None:
            _delete_from(original, name, removed)
        if changes is not None:
            original[name] = _merge_value(original.get(name), changes, _field(schema, name))
        if isinstance(original.get(name), list):
            identity = _identity(_field(schema, name))
            original[name] = in_order(original[name], order, before or [], identity)


def _identity(schema: MergeSchema | None) -> Callable[[Any], Any]:
    key = schema.merge_key if schema is not None else ""
    return lambda item: item.get(key) if isinstance(item, dict) else item


def in_order(merged: list[Any], wanted: list[Any], server: list[Any], identity: Callable[[Any], Any]) -> list[Any]:
    """Order ``merged``: elements in ``wanted`` in its order, the others in the server's; where both orders leave a
    choice, an element only the server has goes first when the server had it first."""
    wanted_ids, server_ids = [identity(i) for i in wanted], [identity(i) for i in server]
    ours = sorted((i for i in merged if identity(i) in wanted_ids), key=lambda i: wanted_ids.index(identity(i)))
    theirs = [i for i in merged if identity(i) not in wanted_ids]
    out: list[Any] = []
    while ours and theirs:
        left, right = identity(theirs[0]), identity(ours[0])
        known = left in server_ids and right in server_ids
        first = theirs if known and server_ids.index(left) < server_ids.index(right) else ours
        out.append(first.pop(0))
    return out + theirs + ours
