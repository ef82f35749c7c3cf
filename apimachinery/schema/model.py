"""A schema: the type of one value and what merging and checking need to know of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

SCALARS = ("string", "bool", "int32", "int64", "double", "bytes", "time", "microtime", "quantity", "intorstring")
Spec = Any


@dataclass(slots=True, eq=False)
class Schema:
    """``form`` is one of SCALARS, or ``object`` (known fields), ``map``, ``list``, ``any`` (free JSON).

    ``type_name`` is the Go name that upstream's decoding errors show. ``fields`` of an object are shared by all places
    that refer to its type; ``item`` is the element of a list or map. An ``open`` object keeps members that it does not
    know: custom resources.
    """

    form: str
    type_name: str = ""
    fields: dict[str, "Schema"] = field(default_factory=dict)
    item: "Schema | None" = None
    merge_key: str = ""
    strategies: tuple[str, ...] = ()
    list_type: str = ""
    list_keys: tuple[str, ...] = ()
    atomic: bool = False
    open: bool = False
    omits: frozenset[str] = frozenset()
    """The fields of an object type that are left out when they are empty, zero or false."""
    resolve: Callable[[], None] | None = None
    checker: Callable[[Any], bool] | None = None
    default: Any = None
    """What a list's key of this type is when left out: custom kinds."""
    decode: Callable[[dict[str, Any]], list[Any]] | None = None
    """What brings a whole object into form and tells what was wrong with it, where the fields alone do not say so."""

    def field(self, name: str) -> "Schema | None":
        """The schema of a member; of a map, that of every member. None where anything goes."""
        if self.form == "map":
            return self.item
        return self.members().get(name)

    def members(self) -> dict[str, "Schema"]:
        """The fields of an object type, read from the table when first asked for."""
        self.ensure()
        return self.fields

    def ensure(self) -> None:
        if self.resolve is not None:
            self.resolve()
            self.resolve = None


class Types:
    """Builds schemas from the compiled table, each type when it is first used."""

    def __init__(self, table: Mapping[str, Mapping[str, Spec]]) -> None:
        self._table = table
        self._made: dict[str, Schema] = {}

    def object(self, definition: str, notes: Mapping[str, Any] | None = None) -> Schema:
        made = self._made.get(definition)
        if made is None:
            made = self._made[definition] = self._make(definition)
        return _noted(made, notes) if notes else made

    def _make(self, definition: str) -> Schema:
        raw = self._table.get(definition)
        name = _go_name(definition)
        if raw is None:
            return Schema("any", name)
        said = raw.get("") or {}
        schema = Schema("object", name, atomic="atomic" in said, omits=frozenset(said.get("omits", ())))

        def resolve() -> None:
            schema.fields.update({f: self.of(spec) for f, spec in raw.items() if f})

        schema.resolve = resolve
        return schema

    def of(self, spec: Spec) -> Schema:
        """The schema of a spec of the table."""
        if isinstance(spec, str):
            return _scalar(spec)
        form, of, notes = (*spec, None)[:3]
        if form == "object":
            return self.object(of, notes)
        item = self.of(of) if of is not None else None
        return _noted(Schema(form, _container_name(form, item), item=item), notes or {})


_SCALAR = {form: Schema(form, form) for form in (*SCALARS, "any")}


def _scalar(form: str) -> Schema:
    return _SCALAR[form]


def _noted(schema: Schema, notes: Mapping[str, Any]) -> Schema:
    """The same type with what its place says about merging."""
    return Schema(
        schema.form,
        schema.type_name,
        schema.fields,
        schema.item,
        merge_key=notes.get("key", ""),
        strategies=tuple(s for s in notes.get("strategy", "").split(",") if s),
        list_type=notes.get("list", ""),
        list_keys=tuple(notes.get("keys", ())),
        atomic=schema.atomic or notes.get("map") == "atomic",
        open=schema.open,
        omits=schema.omits,
        resolve=schema.ensure,
    )


def _go_name(definition: str) -> str:
    package, _, name = definition.rpartition(".")
    return f"{package.rpartition('.')[2]}.{name}"


def _container_name(form: str, item: Schema | None) -> str:
    of = item.type_name if item is not None else "interface {}"
    return f"[]{of}" if form == "list" else f"map[string]{of}"
