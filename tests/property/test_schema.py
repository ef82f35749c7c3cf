"""The schema check: its quick answer and its thorough one never disagree, and duplicates are never missed."""

import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from apimachinery import patch, schema, scheme
from apimachinery.schema.fast import checker

SCHEMAS = schema.load()
POD = SCHEMAS.of(scheme.PODS)

_junk = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2**33)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)
_leaves: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=3),
    "bool": st.booleans(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "quantity": st.sampled_from(["1", "100m", "0.1", 0.5, 2, "x", "1024Mi"]),
    "time": st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T01:00:00.5+01:00", "yesterday", ""]),
    "intorstring": st.integers(0, 9) | st.text(max_size=2),
}


def _values(of: schema.Schema, depth: int) -> st.SearchStrategy[Any]:
    """Mostly values of a type, now and then something else."""
    if depth <= 0:
        return _junk
    if of.form == "object":
        names = sorted(of.members())
        chosen = st.lists(st.sampled_from(names), max_size=3, unique=True) if names else st.just([])
        known = chosen.flatmap(
            lambda some: st.fixed_dictionaries({n: _values(of.members()[n], depth - 1) for n in some})
        )
        return st.one_of(
            known, known, known, st.dictionaries(st.sampled_from(["foo", "spec", "name"]), _junk, max_size=2)
        )
    if of.item is not None:
        inner = _values(of.item, depth - 1)
        made: st.SearchStrategy[Any] = (
            st.lists(inner, max_size=2)
            if of.form == "list"
            else st.dictionaries(st.text(max_size=2), inner, max_size=2)
        )
        return st.one_of(made, made, made, _junk)
    return st.one_of(_leaves.get(of.form, _junk), _leaves.get(of.form, _junk), _junk)


pods = _values(POD, 7).filter(lambda v: isinstance(v, dict))


@given(pods)
def test_quick_and_thorough_agree(obj: dict[str, Any]) -> None:
    before, quick = patch.copy(obj), checker(POD)(obj)
    problems = SCHEMAS.check(POD, obj)
    assert not quick or (not problems and obj == before)
    assert checker(POD)(obj)  # whatever is left is what can be stored
    assert SCHEMAS.check(POD, obj) == []


_names = st.sampled_from(["a", "b", 'q"', "x:y"])
_texts = st.recursive(
    st.sampled_from(["1", '"s"', '"\\":"', '"a\\\\"', "null", "[]"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]"),
        st.lists(st.tuples(_names, st.sampled_from([":", " : ", ":\n"]), inner), max_size=3).map(
            lambda pairs: "{" + ",".join(f"{json.dumps(k)}{colon}{v}" for k, colon, v in pairs) + "}"
        ),
    ),
    max_leaves=8,
)


@given(_texts)
def test_duplicates_are_found_exactly_where_there_are_any(text: str) -> None:
    twice = []

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice.append(len(pairs) != len(dict(pairs)))
        return dict(pairs)

    json.loads(text, object_pairs_hook=look)
    assert bool(schema.duplicate_fields(text.encode(), orjson.loads(text))) == any(twice)
