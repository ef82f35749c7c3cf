"""The patch semantics that kubectl and controllers rely on, example by example."""

from typing import Any

import pytest

from apimachinery import patch, schema, scheme
from apimachinery.errors import BadRequest, Invalid, RequestEntityTooLarge

POD = schema.load().of(scheme.PODS)


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": list(containers), **spec}}


def strategic(obj: dict[str, Any], change: dict[str, Any]) -> Any:
    return patch.strategic_merge(obj, change, POD)


def test_lists_merge_by_key() -> None:
    before = pod({"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "1"})
    change = {"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "c", "image": "3"}]}}
    after = strategic(before, change)
    assert [(c["name"], c["image"]) for c in after["spec"]["containers"]] == [("a", "2"), ("c", "3"), ("b", "1")]
    assert after["spec"]["containers"][0]["args"] == ["x"]
    assert before["spec"]["containers"][0]["image"] == "1"


def test_atomic_lists_are_replaced() -> None:
    assert strategic(pod({"name": "a", "args": ["x", "y"]}), {"spec": {"containers": [{"name": "a", "args": ["z"]}]}})[
        "spec"
    ]["containers"] == [{"name": "a", "args": ["z"]}]


def test_delete_and_replace_directives() -> None:
    before = pod({"name": "a"}, {"name": "b"}, nodeSelector={"x": "1"}, securityContext={"runAsUser": 1})
    after = strategic(before, {"spec": {"containers": [{"$patch": "delete", "name": "a"}], "nodeSelector": None}})
    assert after["spec"] == {"containers": [{"name": "b"}], "securityContext": {"runAsUser": 1}}
    after = strategic(before, {"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}})
    assert after["spec"]["containers"] == [{"name": "z"}]
    after = strategic(before, {"spec": {"securityContext": {"$patch": "replace", "fsGroup": 2}}})
    assert after["spec"]["securityContext"] == {"fsGroup": 2}


def test_primitive_lists() -> None:
    before = {"metadata": {"finalizers": ["a", "b"]}}
    assert strategic(before, {"metadata": {"finalizers": ["c", "a"]}})["metadata"]["finalizers"] == ["c", "a", "b"]
    change = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert strategic(before, change)["metadata"]["finalizers"] == ["b"]
    change = {"metadata": {"finalizers": ["c"], "$setElementOrder/finalizers": ["c", "a"]}}
    assert strategic(before, change)["metadata"]["finalizers"] == ["c", "a", "b"]


def test_element_order() -> None:
    change = {
        "spec": {"$setElementOrder/containers": [{"name": "new"}, {"name": "a"}], "containers": [{"name": "new"}]}
    }
    after = strategic(pod({"name": "a"}, {"name": "server"}), change)
    assert [c["name"] for c in after["spec"]["containers"]] == ["new", "a", "server"]


def test_retain_keys_switches_the_volume_source() -> None:
    before = pod(volumes=[{"name": "v", "configMap": {"name": "c"}}])
    volume = {"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}
    assert strategic(before, {"spec": {"volumes": [volume]}})["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]


@pytest.mark.parametrize(
    "change",
    [
        {"$patch": "shuffle"},
        {"spec": {"containers": [{"image": "keyless"}]}},
        {"spec": {"containers": ["a", {"name": "b"}]}},
        ["not a map"],
    ],
)
def test_bad_strategic_patches(change: Any) -> None:
    with pytest.raises(BadRequest):
        strategic(pod({"name": "a"}), change)


def test_merge_patch() -> None:
    assert patch.merge({"a": {"b": 1, "c": 2}, "l": [1]}, {"a": {"b": None}, "l": [2], "n": {"x": None}}) == {
        "a": {"c": 2},
        "l": [2],
        "n": {},
    }


def test_json_patch() -> None:
    before = {"metadata": {"labels": {"a/b": "1"}}, "l": [1, 2]}
    operations = [
        {"op": "test", "path": "/metadata/labels/a~1b", "value": "1"},
        {"op": "add", "path": "/l/-", "value": 3},
        {"op": "remove", "path": "/metadata"},
    ]
    assert patch.json_patch(before, operations) == {"l": [1, 2, 3]}
    with pytest.raises(Invalid):
        patch.json_patch(before, [{"op": "test", "path": "/l/0", "value": 5}])
    with pytest.raises(Invalid):
        patch.json_patch(before, [{"op": "remove", "path": "/absent"}])
    with pytest.raises(BadRequest):
        patch.json_patch(before, [{"op": "jump", "path": "/l"}])
    with pytest.raises(RequestEntityTooLarge):
        patch.json_patch(before, [{"op": "remove", "path": "/l"}] * 10_001)


def test_a_patch_keeps_the_order_that_it_demands() -> None:
    change = {"metadata": {"finalizers": ["b", "a"], "$setElementOrder/finalizers": ["a", "b"]}}
    with pytest.raises(BadRequest, match="setElementOrder/finalizers"):
        patch.strategic_merge({"metadata": {}}, change, schema.load().of(scheme.PODS))
