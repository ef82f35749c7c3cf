"""Patches: what merging must keep true whatever is merged."""

from typing import Any

import jsonpatch
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


@given(documents, documents)
def test_a_json_patch_makes_what_it_was_made_for(old: Object, new: Object) -> None:
    operations = jsonpatch.make_patch(old, new).patch
    before = patch.copy(old)
    assert patch.json_patch(old, operations) == new
    assert old == before
    tests = [{"op": "test", "path": f"/{_pointer(key)}", "value": value} for key, value in new.items()]
    assert patch.json_patch(new, tests) == new


@given(documents, documents, documents)
def test_merge_patches_make_what_they_were_made_for(old: Object, new: Object, other: Object) -> None:
    """Targets have no nulls: a merge patch cannot write one (RFC 7386)."""
    wanted = _without_nulls(new)
    assert patch.merge(old, _merge_difference(old, wanted)) == wanted
    assert patch.merge(patch.merge(old, other), _merge_difference(patch.merge(old, other), wanted)) == wanted
    assert patch.merge(old, {}) == old


_volumes = st.fixed_dictionaries(
    {"name": _names},
    optional={"emptyDir": st.just({"medium": "Memory"}), "hostPath": st.fixed_dictionaries({"path": _names})},
)
rich = st.builds(
    lambda pod, finalizers, volumes: {
        "metadata": pod["metadata"] | ({"finalizers": finalizers} if finalizers else {}),
        "spec": pod.get("spec", {}) | ({"volumes": volumes} if volumes else {}),
    },
    pods,
    st.lists(st.sampled_from("uvwxyz"), max_size=4, unique=True),
    _by(_volumes, "name"),
)
"""With lists of texts that merge, and elements of which a patch says what they retain."""


@given(rich, rich)
def test_a_strategic_patch_makes_what_it_was_made_for(old: Object, new: Object) -> None:
    """Whatever the directives have to say for it: deletions, orders, retained keys; and again it changes nothing."""
    change = _strategic_difference(old, new, POD)
    made = patch.strategic_merge(old, change, POD)
    assert made == new
    assert patch.strategic_merge(made, change, POD) == new


@given(rich, rich)
def test_replacing_and_deleting_by_directive(old: Object, new: Object) -> None:
    whole = {key: {"$patch": "replace", **new[key]} for key in ("metadata", "spec")}
    assert patch.strategic_merge(old, whole, POD) == new
    containers = [{"$patch": "replace"}, *new["spec"].get("containers", [])]
    made = patch.strategic_merge(old, {"spec": {"containers": containers}}, POD)
    assert made["spec"]["containers"] == containers[1:]
    emptied = patch.strategic_merge(old, {"spec": {"$patch": "delete"}}, POD)
    assert not emptied.get("spec")


def _pointer(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _without_nulls(value: Any) -> Any:
    """Of maps; a list is written as it is."""
    return {k: _without_nulls(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def _merge_difference(old: Any, new: Any) -> Any:
    """RFC 7386 backwards."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    gone: Object = dict.fromkeys(old.keys() - new.keys())
    return gone | {k: _merge_difference(old.get(k), v) for k, v in new.items() if k not in old or old[k] != v}


def _strategic_difference(old: Object, new: Object, kind: Any) -> Object:
    """As kubectl writes it: from two states, with the directives of the strategies that the schema names."""
    change: Object = dict.fromkeys(old.keys() - new.keys())
    for key, value in new.items():
        part, before = kind.field(key), old.get(key)
        strategies = part.strategies if part is not None else ()
        if key in old and before == value:
            continue
        if isinstance(before, dict) and isinstance(value, dict) and "replace" not in strategies:
            change[key] = _strategic_difference(before, value, part)
        elif isinstance(before, list) and isinstance(value, list) and "merge" in strategies:
            change |= _list_difference(key, before, value, part)
        else:
            change[key] = value
    return change


def _list_difference(key: str, old: list[Any], new: list[Any], kind: Any) -> Object:
    by = kind.merge_key
    if not by:
        change = {f"$deleteFromPrimitiveList/{key}": [i for i in old if i not in new]}
        return change | {key: [i for i in new if i not in old], f"$setElementOrder/{key}": new}
    known = {item[by]: item for item in old}
    items = [{by: name, "$patch": "delete"} for name in known.keys() - {item[by] for item in new}]
    for item in new:
        if item[by] not in known:
            items.append(item)
        elif known[item[by]] != item:
            retained = {"$retainKeys": sorted(item)} if "retainKeys" in kind.strategies else {}
            difference = {by: item[by], **_strategic_difference(known[item[by]], item, kind.item)}
            items.append(retained | {k: v for k, v in difference.items() if not retained or v is not None})
    return {key: items, f"$setElementOrder/{key}": [{by: item[by]} for item in new]}
