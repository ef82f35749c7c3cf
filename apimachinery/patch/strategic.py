"""Strategic merge patch: lists are merged by the key that the schema names, and directives steer the rest.

``$patch: replace|delete|merge`` in a map or a list element, ``$retainKeys``, ``$setElementOrder/<field>`` and
``$deleteFromPrimitiveList/<field>`` act as upstream's do.

Source: ``k8s.io/apimachinery/pkg/util/strategicpatch/patch.go``.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import orjson

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
        gone = {_hashable(v) for v in values}
        original[key] = [item for item in original[key] if _hashable(item) not in gone]


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
        merged = original + _new(patch, original)
        return in_order(merged, patch, original, lambda item: item)
    key = schema.merge_key
    _require_key(patch, key)
    specials = [i for i in patch if i.get(_PATCH) in ("delete", "replace")]
    changes = [i for i in patch if i.get(_PATCH) not in ("delete", "replace")]
    if any(i[_PATCH] == "replace" for i in specials):
        return [_clean(i) for i in changes]
    gone = {_hashable(i.get(key)) for i in specials}
    merged = [i for i in original if _hashable(i.get(key)) not in gone]
    places: dict[Any, int] = {}
    for index, item in enumerate(merged):
        places.setdefault(_hashable(item.get(key)), index)
    for change in changes:
        _merge_element(merged, places, change, _hashable(change[key]), schema.item)
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


def _merge_element(
    merged: list[Any], places: dict[Any, int], change: Object, identity: Any, schema: MergeSchema | None
) -> None:
    """``places`` are the indices of the elements by what they are merged by."""
    index = places.get(identity)
    if index is not None:
        merged[index] = _merge_map(merged[index], change, schema)
        return
    places[identity] = len(merged)
    merged.append(_clean(change))


def _new(items: Iterable[Any], known: Iterable[Any]) -> list[Any]:
    """Each of the items that is not known, once."""
    seen = {_hashable(item) for item in known}
    out: list[Any] = []
    for item in items:
        if (found := _hashable(item)) not in seen:
            seen.add(found)
            out.append(item)
    return out


def _hashable(value: Any) -> Any:
    """What is equal for equal JSON values: lists of a patch may be long, and are never searched."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS) if isinstance(value, dict | list) else (type(value), value)


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
        identity = _identity(_field(schema, name))
        if isinstance(changes, list):
            _require_order(directive, changes, order, identity)
        if removed is not None:
            _delete_from(original, name, removed)
        if changes is not None:
            original[name] = _merge_value(original.get(name), changes, _field(schema, name))
        if isinstance(original.get(name), list):
            original[name] = in_order(original[name], order, before or [], identity)


def _require_order(directive: str, changes: list[Any], order: list[Any], identity: Callable[[Any], Any]) -> None:
    """What a patch changes stands in the order that it demands."""
    rest = iter(order)
    for item in changes:
        deletes = isinstance(item, dict) and item.get(_PATCH) == "delete"
        if not deletes and all(identity(item) != identity(place) for place in rest):
            raise BadRequest(f"the order in patch list: {changes} doesn't match {directive} list: {order}")


def _identity(schema: MergeSchema | None) -> Callable[[Any], Any]:
    key = schema.merge_key if schema is not None else ""
    return lambda item: item.get(key) if isinstance(item, dict) else item


def in_order(merged: list[Any], wanted: list[Any], server: list[Any], identity: Callable[[Any], Any]) -> list[Any]:
    """Order ``merged``: elements in ``wanted`` in its order, the others in the server's; where both orders leave a
    choice, an element only the server has goes first when the server had it first."""
    wanted_at, server_at = _places(wanted, identity), _places(server, identity)
    named = [(_hashable(identity(item)), item) for item in merged]
    ours = deque(sorted((p for p in named if p[0] in wanted_at), key=lambda p: wanted_at[p[0]]))
    theirs = deque(p for p in named if p[0] not in wanted_at)
    out: list[Any] = []
    while ours and theirs:
        left, right = server_at.get(theirs[0][0]), server_at.get(ours[0][0])
        first = theirs if left is not None and right is not None and left < right else ours
        out.append(first.popleft()[1])
    return out + [item for _, item in (*theirs, *ours)]


def _places(items: list[Any], identity: Callable[[Any], Any]) -> dict[Any, int]:
    """Where each identity comes first."""
    found: dict[Any, int] = {}
    for index, item in enumerate(items):
        found.setdefault(_hashable(identity(item)), index)
    return found
