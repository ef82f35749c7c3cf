"""What of a value its schema refuses, in upstream's words and with its paths.

What an update leaves as it was is never refused (ratcheting, KEP-4008): where the old value is known and equal, the
schema is not asked.

Source: ``k8s.io/kube-openapi/pkg/validation/validate``, ``k8s.io/apiextensions-apiserver/pkg/apiserver/validation``,
``.../schema/listtype``.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from apimachinery.errors import Cause
from apimachinery.schema.structural import META, Structural, resources

from ..kinds.causes import Causes, duplicate, invalid, quoted, required
from .embedded import check_resource
from .formats import fits

Object = dict[str, Any]

UNKNOWN = object()
"""In the place of an old value: there is none, or it cannot be told which it was."""
_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1), "uint32": (0, 2**32 - 1)}


def check(value: Any, schema: Structural, old: Any = UNKNOWN, path: str = "") -> Causes:
    """All that is wrong with a value. At the root of a custom object ``path`` is empty."""
    causes = list(dict.fromkeys(_check(value, schema, path, old)))
    causes += _check_lists(value, schema, path, old)
    if not (old is not UNKNOWN and value == old):
        for place, resource in resources(value, schema, path):
            causes += check_resource(resource, place)
    return causes


def _check(value: Any, schema: Structural, path: str, old: Any) -> Causes:
    if old is not UNKNOWN and value == old:
        return []
    if value is None and schema.nullable:
        return []
    wrong = _wrong_type(value, schema, path)
    causes = _limits(value, schema.limits, path) if schema.limits else []
    if wrong is not None:
        return [wrong, *causes, *_junctors(value, schema, path)]
    if isinstance(value, dict):
        causes += _members(value, schema, path, old)
    elif isinstance(value, list) and schema.items is not None:
        before = _before(schema, old)
        for index, item in enumerate(value):
            causes += _check(item, schema.items, f"{path}[{index}]", before(item))
    return causes + _junctors(value, schema, path)


def _members(value: Object, schema: Structural, path: str, old: Any) -> Causes:
    causes: Causes = []
    past = old if isinstance(old, dict) else {}
    for key, content in value.items():
        if schema.embedded and key in META and key != "metadata":
            continue
        member = schema.properties.get(key) or schema.extra
        if member is not None:
            place = f"{path}.{key}" if path else key
            causes += _check(content, member, place, past.get(key, UNKNOWN))
    return causes


def _before(schema: Structural, old: Any) -> Callable[[Any], Any]:
    """What an item of a list was before: told by its keys in a list that is a map, not to be told in others."""
    if schema.list_type != "map" or not isinstance(old, list):
        return lambda item: UNKNOWN
    keys = schema.list_keys
    past = {_identity([i.get(k) for k in keys]): i for i in old if isinstance(i, dict)}
    return lambda item: past.get(_identity([item.get(k) for k in keys]), UNKNOWN) if isinstance(item, dict) else UNKNOWN


def _wrong_type(value: Any, schema: Structural, path: str) -> Cause | None:
    found = type_name(value)
    if schema.int_or_string:
        if found in ("integer", "string"):
            return None
        wanted = "integer,string"
    else:
        wanted = schema.type
        if not wanted or found == wanted or (wanted == "number" and found == "integer"):
            return None
        if wanted == "integer" and isinstance(value, float) and value.is_integer():
            return None
    message = f"{path} in body must be of type {wanted}: {quoted(found)}"
    return Cause("FieldValueTypeInvalid", f"Invalid value: {quoted(found)}: {message}", path or "<nil>")


def type_name(value: Any) -> str:
    """The JSON Schema type of a JSON value."""
    if isinstance(value, bool):
        return "boolean"
    for python, name in ((str, "string"), (int, "integer"), (float, "number"), (dict, "object"), (list, "array")):
        if isinstance(value, python):
            return name
    return "null"


def _limits(value: Any, limits: Mapping[str, Any], path: str) -> Causes:
    causes: Causes = []
    if "enum" in limits and not any(_same(value, v) for v in limits["enum"]):
        shown = ", ".join(quoted(v if isinstance(v, str) else quoted(v)) for v in limits["enum"])
        told = f"Unsupported value: {quoted(value)}: supported values: {shown}"
        causes.append(Cause("FieldValueNotSupported", told, path or "<nil>"))
    if isinstance(value, str):
        causes += _string(value, limits, path)
    elif isinstance(value, dict):
        causes += _object(value, limits, path)
    elif isinstance(value, list):
        causes += _array(value, limits, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        causes += _number(value, limits, path)
    return causes


def _same(value: Any, other: Any) -> bool:
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _told(value: Any, path: str, why: str) -> Cause:
    return invalid(path or "<nil>", value, f"{path} in body {why}")


def _string(value: str, limits: Mapping[str, Any], path: str) -> Causes:
    causes: Causes = []
    longest, shortest = limits.get("maxLength"), limits.get("minLength")
    if longest is not None and len(value) > longest:
        causes.append(
            Cause("FieldValueTooLong", f"Too long: may not be more than {longest} byte{'s'[: longest != 1]}", path)
        )
    if shortest is not None and len(value) < shortest:
        causes.append(_told(value, path, f"should be at least {shortest} chars long"))
    pattern = limits.get("pattern")
    if pattern and not go_regex(pattern).search(value):
        causes.append(_told(value, path, f"should match '{pattern}'"))
    form = limits.get("format")
    if form and not fits(form, value):
        why = f"Invalid value: {quoted(value)}: {path} in body must be of type {form}: {quoted(value)}"
        causes.append(Cause("FieldValueTypeInvalid", why, path or "<nil>"))
    return causes


@lru_cache(maxsize=1024)
def go_regex(pattern: str) -> Any:
    """A pattern of Go's syntax, RE2, which never backtracks. Raises ValueError."""
    import re2  # a server without patterns has no need of it

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(error.args[0].decode(errors="replace")) from None


def _number(value: float, limits: Mapping[str, Any], path: str) -> Causes:
    if not math.isfinite(value):  # YAML has such numbers, JSON has not
        return [_told(value, path, "must be a finite number")]
    causes: Causes = []
    most, least, step = limits.get("maximum"), limits.get("minimum"), limits.get("multipleOf")
    if most is not None and (value >= most if limits.get("exclusiveMaximum") else value > most):
        causes.append(_told(value, path, f"should be less than {_or_equal(limits, 'exclusiveMaximum')}{_go(most)}"))
    if least is not None and (value <= least if limits.get("exclusiveMinimum") else value < least):
        causes.append(_told(value, path, f"should be greater than {_or_equal(limits, 'exclusiveMinimum')}{_go(least)}"))
    if step and abs(value / step - round(value / step)) > 1e-9:
        causes.append(_told(value, path, f"should be a multiple of {_go(step)}"))
    form = limits.get("format")
    if form in _RANGES and not (_RANGES[form][0] <= value <= _RANGES[form][1] and value == int(value)):
        told = f"Checked value must be of type integer with format {form} in {path}"
        causes.append(invalid(path or "<nil>", value, told))
    return causes


def _or_equal(limits: Mapping[str, Any], exclusive: str) -> str:
    return "" if limits.get(exclusive) else "or equal to "


def _go(number: float) -> str:
    """A float as Go's %v writes it."""
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e21 else repr(number)


def _object(value: Object, limits: Mapping[str, Any], path: str) -> Causes:
    place = f"{path}." if path else ""
    causes = [required(f"{place}{name}") for name in limits.get("required") or () if name not in value]
    most, least = limits.get("maxProperties"), limits.get("minProperties")
    if most is not None and len(value) > most:
        causes.append(_too_many(path, len(value), most))
    if least is not None and len(value) < least:
        causes.append(_told(len(value), path, f"should have at least {least} properties"))
    return causes


def _array(value: list[Any], limits: Mapping[str, Any], path: str) -> Causes:
    causes: Causes = []
    most, least = limits.get("maxItems"), limits.get("minItems")
    if most is not None and len(value) > most:
        causes.append(_too_many(path, len(value), most))
    if least is not None and len(value) < least:
        causes.append(_told(len(value), path, f"should have at least {least} items"))
    return causes


def _too_many(path: str, count: int, most: int) -> Cause:
    return Cause(
        "FieldValueTooMany", f"Too many: {count}: must have at most {most} item{'s'[: most != 1]}", path or "<nil>"
    )


def _junctors(value: Any, schema: Structural, path: str) -> Causes:
    if not (schema.all_of or schema.any_of or schema.one_of or schema.none_of):
        return []
    every = [_check(value, s, path, UNKNOWN) for s in schema.all_of]
    causes = [c for found in every for c in found]
    if causes:
        none = ". None validated" if all(every) else ""
        causes.append(_junction(path, f"must validate all the schemas (allOf){none}"))
    if schema.any_of:
        found = [_check(value, s, path, UNKNOWN) for s in schema.any_of]
        if all(found):
            causes += [_junction(path, "must validate at least one schema (anyOf)"), *_fewest(found)]
    if schema.one_of:
        found = [_check(value, s, path, UNKNOWN) for s in schema.one_of]
        fitting = sum(not f for f in found)
        if fitting != 1:
            how = f"Found {fitting} valid alternatives" if fitting else "Found none valid"
            causes.append(_junction(path, f"must validate one and only one schema (oneOf). {how}"))
            causes += _fewest(found)
    if schema.none_of is not None and not _check(value, schema.none_of, path, UNKNOWN):
        causes.append(_junction(path, "must not validate the schema (not)"))
    return causes


def _fewest(found: list[Causes]) -> Causes:
    return found[min(range(len(found)), key=lambda i: len(found[i]))]


def _junction(path: str, why: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "": "{path}" {why}', "<nil>")


def _check_lists(value: Any, schema: Structural, path: str, old: Any) -> Causes:
    """Sets and maps among lists have nothing twice."""
    if old is not UNKNOWN and value == old:
        return []
    causes: Causes = []
    if isinstance(value, dict):
        past = old if isinstance(old, dict) else {}
        for key, content in value.items():
            member = schema.properties.get(key) or schema.extra
            if member is not None:
                place = f"{path}.{key}" if path else key
                causes += _check_lists(content, member, place, past.get(key, UNKNOWN))
    elif isinstance(value, list):
        if schema.list_type == "set":
            causes += _twice(value, value, path)
        elif schema.list_type == "map":
            causes += _list_map(value, schema, path)
        for index, item in enumerate(value if schema.items is not None else ()):
            causes += _check_lists(item, schema.items or schema, f"{path}[{index}]", UNKNOWN)
    return causes


def _list_map(value: list[Any], schema: Structural, path: str) -> Causes:
    for index, item in enumerate(value):
        if item is not None and not isinstance(item, dict):
            return [invalid(f"{path}[{index}]", item, "must be an object for an array of list-type map")]
    keys = [{k: i[k] for k in schema.list_keys if k in i} if i else {} for i in value]
    return _twice(keys, keys, path)


def _twice(items: Iterable[Any], shown: list[Any], path: str) -> Causes:
    seen: dict[bytes, int] = {}
    causes: Causes = []
    for index, item in enumerate(items):
        identity = _identity(item)
        seen[identity] = seen.get(identity, 0) + 1
        if seen[identity] == 2:
            causes.append(duplicate(f"{path}[{index}]", shown[index]))
    return causes


def _identity(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
