"""Structural schemas: pruning and defaulting settle at once, whatever the schema and the value."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apimachinery.patch import copy
from apimachinery.schema.structural import compile_root, fill_defaults, prune
from master.apiserver.registry.custom import validation

NAMES = st.sampled_from("abcd")
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["", "x"]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    flags = {
        "nullable": st.booleans(),
        "x-kubernetes-preserve-unknown-fields": st.booleans(),
        "default": VALUES,
    }
    of_object = st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, max_size=3)}, optional=flags
    )
    of_map = st.fixed_dictionaries({"type": st.just("object"), "additionalProperties": inner}, optional=flags)
    of_list = st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional=flags)
    return of_object | of_map | of_list


SCHEMAS = st.recursive(
    st.fixed_dictionaries({"type": st.sampled_from(["string", "integer"])}, optional={"default": SCALARS}),
    _schemas,
    max_leaves=8,
)
ROOTS = st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(NAMES, SCHEMAS, max_size=3)})


@given(ROOTS, st.dictionaries(NAMES, VALUES, max_size=4))
def test_pruning_settles(raw: dict[str, Any], value: dict[str, Any]) -> None:
    schema = compile_root(raw)
    prune(value, schema)
    once = copy(value)
    assert prune(value, schema) == []
    assert value == once


@given(ROOTS, st.dictionaries(NAMES, VALUES, max_size=4))
def test_defaulting_settles(raw: dict[str, Any], value: dict[str, Any]) -> None:
    schema = compile_root(raw)
    fill_defaults(value, schema)
    once = copy(value)
    fill_defaults(value, schema)
    assert value == once


@given(ROOTS, st.dictionaries(NAMES, VALUES, max_size=4))
def test_an_update_without_a_change_is_never_refused(raw: dict[str, Any], value: dict[str, Any]) -> None:
    assert validation.check(value, compile_root(raw), copy(value)) == []
