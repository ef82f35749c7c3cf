"""Bodies for every kind, made from its schema: mostly right, wrong where it hurts."""

from typing import Any

from hypothesis import strategies as st

from apimachinery import schema, scheme
from apimachinery.schema import Schema
from apimachinery.scheme import Kind

Object = dict[str, Any]
WRITTEN = tuple(k for k in scheme.KINDS if "create" in k.verbs)
"""Every kind that takes a body."""

NUMBERS = (
    0,
    -1,
    1,
    2**31 - 1,
    2**31,
    -(2**31) - 1,
    2**63 - 1,
    2**63,
    -(2**63),
    2**64,
    10**400,
    1.5,
    1e308,
    -0.0,
    1e-300,
)
TEXTS = (
    "", " ", "a", "A", "-", ".", "..", "/", "a/b", "a" * 64, "a" * 300, "é", "\0", "\n", "\r\n", "\x7f", "\u2028", "💥",
    "0", "1", "-1", "1e9999", "9" * 5000, "1.5", "0x10", "٣", "1Ki", "1e-9", "100%", "-5%", "10.96.0.1", "::1", "10.0.0.0/8",
    "::/0", "999.1.1.1", "2020-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "true", "null",
    "TCP", "In", "Exists", "Always", "(", "[a", "*", "a=b", "{{", "$(", "0 0 31 2 *", "* * * * *", "=", "%00", "kubernetes.io/x",
)  # fmt: skip

_texts = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_numbers = st.sampled_from(NUMBERS[:9]) | st.integers(-3, 70_000)
junk = st.recursive(
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_REASONABLE: dict[str, Any] = {
    "string": _texts | st.sampled_from(["x", "default", "web", "kubernetes.io/os", "Pod", "v1", "apps/v1"]),
    "bool": st.booleans(),
    "int32": _numbers,
    "int64": _numbers,
    "double": _numbers | st.floats(allow_nan=False, allow_infinity=False),
    "bytes": st.sampled_from(["", "eA==", "eA", "====", "é", "e A=="]),
    "time": st.sampled_from(["2026-01-01T00:00:00Z", *TEXTS[38:41], "2026-02-30T00:00:00Z"]),
    "microtime": st.sampled_from(["2026-01-01T00:00:00.000001Z", "0000-01-01T00:00:00Z", "x"]),
    "quantity": st.sampled_from(["1", "100m", "1Gi", "-1", "1e3", "0", "", "x", "1E400", "1e-400", 1, 1.5, 10**400]),
    "intorstring": st.sampled_from([0, 1, 70_000, -1, "50%", "http", "", 2**31]),
    "any": junk,
}


@st.composite
def value(draw: Any, wanted: Schema, depth: int = 0) -> Any:
    """A value for a schema; one in sixteen is of another type."""
    if draw(st.integers(0, 15)) == 0:
        return draw(junk)
    if wanted.form == "object":
        members = wanted.members()
        names = (
            draw(st.lists(st.sampled_from(sorted(members)), max_size=(4, 3, 3, 2)[depth] if depth < 4 else 0))
            if members
            else []
        )
        return {name: draw(value(members[name], depth + 1)) for name in names}
    if wanted.form in ("list", "map"):
        size = draw(st.integers(0, 2)) if depth < 5 else 0
        items = [draw(value(wanted.item, depth + 1)) if wanted.item else draw(junk) for _ in range(size)]
        return items if wanted.form == "list" else {draw(_texts): item for item in items}
    return draw(_REASONABLE[wanted.form])


@st.composite
def body(draw: Any, kind: Kind) -> Object:
    """An object of a kind with a name and a spec, so that it gets as far as it can."""
    made = draw(value(schema.load().of(kind)))
    made = made if isinstance(made, dict) else {}
    if "spec" not in made and "spec" in schema.load().of(kind).members():
        made["spec"] = draw(value(schema.load().of(kind).members()["spec"]))
    if draw(st.integers(0, 7)):
        made |= {"apiVersion": kind.api_version, "kind": kind.kind}
        made["metadata"] = {"name": draw(st.sampled_from(["x", "y", "x.y.z", "v1.x"])), **_some_metadata(draw)}
    return made


def _some_metadata(draw: Any) -> Object:
    members = schema.load().of(scheme.PODS).members()["metadata"].members()
    names = draw(st.lists(st.sampled_from(sorted(members)), max_size=2))
    return {name: draw(value(members[name], 2)) for name in names}


def paths(wanted: Schema, at: tuple[str, ...] = (), seen: tuple[int, ...] = ()) -> list[tuple[tuple[str, ...], Schema]]:
    """Every place of a schema, each type once on a way down; ``*`` stands for an element."""
    found = [(at, wanted)]
    if wanted.form == "object" and id(wanted.fields) not in seen:
        for name, member in wanted.members().items():
            found += paths(member, (*at, name), (*seen, id(wanted.fields)))
    elif wanted.item is not None:
        found += paths(wanted.item, (*at, "*"), seen)
    return found


def placed(path: tuple[str, ...], wrong: Any, names: Schema) -> Any:
    """The smallest value that has ``wrong`` at a path of its schema."""
    if not path:
        return wrong
    inner = placed(path[1:], wrong, names)
    return [inner] if path[0] == "*" and names.form == "list" else {"a" if path[0] == "*" else path[0]: inner}
