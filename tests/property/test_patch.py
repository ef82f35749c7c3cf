"""Patches: what merging must keep true whatever is merged."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apimachinery import patch, schema, scheme

Object = dict[str, Any]
POD = schema.load().of(scheme.PODS)

_names = st.sampled_from("abcd")
_texts = st.dictionaries(_names, st.sampled_from("xyz"), max_size=3)
_ports = st.fixed_dictionaries({"containerPort": st.integers(1, 3), "protocol": st.sampled_from(["TCP", "UDP"])},
                               optional={"name": _names})  # fmt: skip
_environment = st.fixed_dictionaries({"name": _names}, optional={"value": _names})


def _by(items: st.SearchStrategy[Object], *keys: str) -> st.SearchStrategy[list[Object]]:
    return st.lists(items, max_size=4, unique_by=lambda item: tuple(item[k] for k in keys))


_containers = st.fixed_dictionaries(
    {"name": _names},
    optional={
        "image": _names,
        "args": st.lists(_names, max_size=3),
        "env": _by(_environment, "name"),
        "ports": _by(_ports, "containerPort"),  # strategic merge goes by the number alone, as upstream's
    },
)
pods = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({"name": st.just("p")}, optional={"labels": _texts, "annotations": _texts})},
    optional={
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "nodeName": _names,
                "priority": st.integers(0, 3),
                "nodeSelector": _texts,
                "containers": _by(_containers, "name"),
            },
        )
    },
)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.text(max_size=2), json, max_size=4)


@given(documents, documents)
def test_merge_patch_is_final_and_leaves_its_arguments_alone(obj: Object, change: Object) -> None:
    before, after = patch.copy(obj), patch.merge(obj, change)
    assert obj == before
    assert patch.merge(after, change) == after


@given(pods, pods)
def test_a_strategic_patch_is_final(obj: Object, change: Object) -> None:
    before = patch.copy(obj)
    once = patch.strategic_merge(obj, change, POD)
    assert obj == before
    twice = patch.strategic_merge(once, change, POD)
    assert _unordered(twice) == _unordered(once)


@given(pods)
def test_patching_with_itself_changes_nothing(obj: Object) -> None:
    assert patch.strategic_merge(obj, obj, POD) == obj


@given(pods, pods)
def test_elements_of_neither_side_are_lost(obj: Object, change: Object) -> None:
    after = patch.strategic_merge(obj, change, POD)

    def names(pod: Object) -> set[str]:
        return {c["name"] for c in pod.get("spec", {}).get("containers", ())}

    assert names(after) == names(obj) | names(change)


def _unordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _unordered(v) for k, v in value.items()}
    return sorted((_unordered(v) for v in value), key=repr) if isinstance(value, list) else value
