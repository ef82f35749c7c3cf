"""What upstream's decoder would make of a value: what is wrong with it, in its words, and what is left of it.

Decoding into Go types drops nulls, unknown fields and what is empty and optional, and writes quantities and times in
one way; here that happens in place.

Source: ``sigs.k8s.io/json`` (strict errors), Go's ``encoding/json`` (type errors).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from apimachinery import quantity
from apimachinery.schema.fast import SCALAR_CHECKS
from apimachinery.schema.model import Schema

DROP = object()
_RFC3339 = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt](?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})(?P<fraction>[.,][0-9]+)?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_LAYOUT = "2006-01-02T15:04:05Z07:00"


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """``unknown`` and ``duplicate`` fields are errors in strict mode and warnings else; a wrong ``type`` never passes.

    ``path`` is dotted with list indices; ``message`` is upstream's sentence.
    """

    form: Literal["unknown", "duplicate", "type"]
    path: str
    message: str


class Decoder:
    """One walk over one object. ``problems`` fills up in document order. ``keep_empty``: what would be left out for
    being empty stays."""

    def __init__(self, keep_empty: bool = False) -> None:
        self.problems: list[FieldProblem] = []
        self._keep_empty = keep_empty

    def decode(self, schema: Schema, value: Any, path: str = "", owner: str = "") -> Any:
        """The value as it would be stored, or ``DROP`` where nothing is left of it.

        ``owner`` is the Go struct and the fields that lead here (no indices, no map keys): ``PodSpec.spec.containers``.
        """
        if value is None:
            return DROP
        match schema.form:
            case "object":
                return self._object(schema, value, path, owner)
            case "map":
                return self._map(schema, value, path, owner)
            case "list":
                return self._list(schema, value, path, owner)
        if SCALAR_CHECKS[schema.form](value):
            return value
        return self._scalar(schema, value, path, owner)

    def _object(self, schema: Schema, value: Any, path: str, owner: str) -> Any:
        if not isinstance(value, dict):
            return self._mismatch(schema, value, path, owner)
        members = schema.members()
        name = schema.type_name.rpartition(".")[2]
        for key in list(value):
            place = f"{path}.{key}" if path else key
            member = members.get(key)
            if member is not None:
                within = f"{owner.partition('.')[2]}.{key}".lstrip(".")
                made = self.decode(member, value[key], place, f"{name}.{within}")
                self._keep(value, key, DROP if not made and key in schema.omits and not self._keep_empty else made)
            elif not schema.open:
                self.problems.append(FieldProblem("unknown", place, f'unknown field "{place}"'))
                del value[key]
        return value

    def _map(self, schema: Schema, value: Any, path: str, owner: str) -> Any:
        if not isinstance(value, dict):
            return self._mismatch(schema, value, path, owner)
        item = schema.item
        for key in list(value):
            if item is not None and value[key] is not None:
                self._keep(value, key, self.decode(item, value[key], f"{path}.{key}", owner))
            elif value[key] is None:
                self._keep(value, key, "" if item is not None and item.form in ("string", "bytes") else DROP)
        return value

    def _list(self, schema: Schema, value: Any, path: str, owner: str) -> Any:
        if not isinstance(value, list):
            return self._mismatch(schema, value, path, owner)
        if schema.item is None:
            return value
        decoded = [self.decode(schema.item, v, f"{path}[{i}]", owner) for i, v in enumerate(value)]
        value[:] = [v for v in decoded if v is not DROP]
        return value

    @staticmethod
    def _keep(holder: dict[str, Any], key: str, value: Any) -> None:
        if value is DROP:
            del holder[key]
        else:
            holder[key] = value

    def _scalar(self, schema: Schema, value: Any, path: str, owner: str) -> Any:
        try:
            match schema.form:
                case "quantity" if isinstance(value, str | int | float) and not isinstance(value, bool):
                    return quantity.canonical(value.strip() if isinstance(value, str) else value)
                case "time" | "microtime" if isinstance(value, str):
                    return canonical_time(value, micro=schema.form == "microtime")
                case "bytes" if isinstance(value, str):
                    return self._broken_base64(value, path)
        except ValueError as e:
            self.problems.append(FieldProblem("type", path, str(e)))
            return DROP
        return self._mismatch(schema, value, path, owner)

    def _broken_base64(self, value: str, path: str) -> Any:
        bare = value.replace("\n", "").replace("\r", "")  # Go's decoder passes over line ends
        if SCALAR_CHECKS["bytes"](bare):
            return bare
        bad = next(
            (i for i, c in enumerate(value) if not (c.isascii() and (c.isalnum() or c in "+/=\r\n"))), len(value)
        )
        self.problems.append(FieldProblem("type", path, f"illegal base64 data at input byte {bad}"))
        return DROP

    def _mismatch(self, schema: Schema, value: Any, path: str, owner: str) -> Any:
        self.problems.append(FieldProblem("type", path, _unmarshal_error(schema, value, owner)))
        return DROP


def canonical_time(text: str, *, micro: bool = False) -> str:
    """An RFC 3339 time in UTC, to the second or the microsecond. Raises ValueError in Go's words."""
    match = _RFC3339.fullmatch(text)
    wrong = f'parsing time "{text}" as "{_LAYOUT}": cannot parse "{text}" as "2006"'
    if match is None:
        raise ValueError(wrong)
    try:
        zone = "+00:00" if match["zone"] in "Zz" else match["zone"]
        moment = datetime.fromisoformat(f"{match['day']}T{match['time']}{zone}").astimezone(UTC)
    except (ValueError, OverflowError) as e:
        raise ValueError(wrong) from e
    fraction = ((match["fraction"] or "")[1:] + "000000")[:6]
    return moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + (f".{fraction}Z" if micro else "Z")


def _unmarshal_error(schema: Schema, value: Any, owner: str) -> str:
    found = _go_kind(value)
    if found == "number" and schema.form in ("int32", "int64"):
        found = f"number {value}"
    target = {"double": "float64", "bytes": "[]uint8", "intorstring": "int32"}.get(schema.form, schema.type_name)
    place = f"Go struct field {owner} of type" if owner else "Go value of type"
    return f"json: cannot unmarshal {found} into {place} {target}"


def _go_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"
