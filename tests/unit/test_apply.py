"""Server-side apply, as the KEP and structured-merge-diff have it."""

import json
from typing import Any

import pytest

from apimachinery import patch, schema, scheme
from apimachinery.errors import BadRequest, Conflict
from apimachinery.patch import FieldManager, fields, typed
from apimachinery.patch.apply import decode
from apimachinery.schema.model import Schema

Object = dict[str, Any]
DEPLOYMENT = schema.load().of(scheme.DEPLOYMENTS)
CONFIG_MAP = schema.load().of(scheme.CONFIG_MAPS)
ANN = FieldManager("ann", "apps/v1", "2026-01-01T00:00:00Z")
BOB = FieldManager("bob", "apps/v1", "2026-01-02T00:00:00Z")


def deployment(**spec: Any) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


def containers(*items: Object) -> Object:
    return {"template": {"spec": {"containers": list(items)}}}


def owners(obj: Object) -> dict[str, list[str]]:
    return {e["manager"]: list(fields.paths(e["fieldsV1"])) for e in obj["metadata"]["managedFields"]}


def apply(live: Object | None, wanted: Object, manager: FieldManager = ANN, *, force: bool = False) -> Object:
    return patch.apply(live, wanted, DEPLOYMENT, manager, force=force)


def test_creating_records_what_was_said() -> None:
    made = apply(None, deployment(replicas=1, **containers({"name": "c", "image": "i"})))
    assert made["spec"]["replicas"] == 1
    (entry,) = made["metadata"]["managedFields"]
    assert entry["operation"] == "Apply"
    assert entry["fieldsV1"] == {
        "f:spec": {
            "f:replicas": {},
            "f:template": {"f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:image": {}, "f:name": {}}}}},
        }
    }


def test_another_value_is_a_conflict() -> None:
    live = apply(None, deployment(replicas=1))
    with pytest.raises(Conflict) as caught:
        apply(live, deployment(replicas=2), BOB)
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "ann": .spec.replicas'
    assert caught.value.causes[0].to_json() == {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "ann"',
        "field": ".spec.replicas",
    }
    taken = apply(live, deployment(replicas=2), BOB, force=True)
    assert owners(taken) == {"bob": [".spec.replicas"]}


def test_the_same_value_is_shared() -> None:
    live = apply(apply(None, deployment(replicas=1)), deployment(replicas=1), BOB)
    assert owners(live) == {"ann": [".spec.replicas"], "bob": [".spec.replicas"]}
    left = apply(live, deployment(), ANN)
    assert left["spec"] == {"replicas": 1}
    assert owners(left) == {"ann": [".spec"], "bob": [".spec.replicas"]}


def test_what_is_no_longer_said_goes() -> None:
    first = deployment(replicas=1, paused=True, **containers({"name": "a", "image": "i"}, {"name": "b", "image": "i"}))
    live = apply(None, first)
    live["spec"]["minReadySeconds"] = 5  # somebody else's
    live["spec"]["template"]["spec"]["containers"][1]["imagePullPolicy"] = "Always"
    after = apply(live, deployment(replicas=1, **containers({"name": "a", "image": "i"})))
    assert "paused" not in after["spec"]
    assert after["spec"]["minReadySeconds"] == 5
    # An element goes with all that is in it, if only its applier owned it.
    assert [c["name"] for c in after["spec"]["template"]["spec"]["containers"]] == ["a"]
    again = apply(first | {"metadata": {"name": "d", **live["metadata"]}}, deployment(replicas=1))
    assert "template" not in again["spec"]


def test_lists_by_keys_with_defaults() -> None:
    port = {"containerPort": 80, "protocol": "TCP", "hostPort": 8080}
    live = deployment(
        **containers({"name": "c", "image": "i", "ports": [port, {"containerPort": 81, "protocol": "UDP"}]})
    )
    wanted = deployment(**containers({"name": "c", "ports": [{"containerPort": 80, "name": "http"}]}))
    ports = apply(live, wanted)["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert ports == [port | {"name": "http"}, {"containerPort": 81, "protocol": "UDP"}]


def test_before_the_first_apply() -> None:
    live = deployment(replicas=3)
    with pytest.raises(Conflict, match=r'conflict with "before-first-apply" using apps/v1: \.spec\.replicas'):
        apply(live, deployment(replicas=1))
    assert owners(apply(live, deployment(replicas=3))) == {
        "ann": [".spec.replicas"],
        "before-first-apply": [".spec.replicas"],
    }


def test_kubectl_takes_over_what_it_applied_on_its_own_side() -> None:
    said = deployment(replicas=3)
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(said)}
    live = deployment(replicas=3, minReadySeconds=1)
    live["metadata"] |= {"annotations": annotations}
    made = created(live, FieldManager("kubectl-client-side-apply", "apps/v1", "2026-01-01T00:00:00Z"))
    kubectl = FieldManager("kubectl", "apps/v1", "2026-01-03T00:00:00Z")
    taken = apply(made, deployment(replicas=4), kubectl)
    assert owners(taken)["kubectl"] == [".spec.replicas"]
    assert ".spec.replicas" not in owners(taken)["kubectl-client-side-apply"]
    last = taken["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert json.loads(last)["spec"] == {"replicas": 4}
    with pytest.raises(Conflict, match=r"minReadySeconds$"):
        apply(made, deployment(replicas=4, minReadySeconds=2), kubectl)


def created(obj: Object, manager: FieldManager) -> Object:
    managed = patch.tracked_create(obj, DEPLOYMENT, manager, typed=True)
    return obj | {"metadata": obj["metadata"] | {"managedFields": managed}}


def update(old: Object, manager: FieldManager, **spec: Any) -> Object:
    new = old | {"spec": spec}
    known = decode(old["metadata"]["managedFields"])
    assert known is not None
    managed = patch.tracked_update(old, new, known, DEPLOYMENT, manager)
    return new | {"metadata": new["metadata"] | {"managedFields": managed}}


def test_plain_writes_take_over() -> None:
    kubectl = FieldManager("kubectl", "apps/v1", "2026-01-03T00:00:00Z")
    new = update(apply(None, deployment(replicas=1, paused=True)), kubectl, replicas=5)
    assert owners(new) == {"kubectl": [".spec.replicas"]}
    with pytest.raises(Conflict) as caught:
        apply(new, deployment(replicas=1))
    assert caught.value.message == (
        'Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas'
    )
    assert update(new, ANN, replicas=5) == new


def test_a_create_is_recorded_as_upstream_does() -> None:
    container = {"name": "c", "image": "i", "resources": {}, "ports": [{"containerPort": 80, "protocol": "TCP"}]}
    obj = deployment(
        replicas=1, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, **containers(container)
    )
    obj["metadata"] |= {"labels": {"app": "a"}, "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    (entry,) = created(obj, ANN)["metadata"]["managedFields"]
    port = {".": {}, "f:containerPort": {}, "f:protocol": {}}
    inside = {
        ".": {},
        "f:name": {},
        "f:image": {},
        "f:resources": {},
        "f:ports": {".": {}, 'k:{"containerPort":80,"protocol":"TCP"}': port},
    }
    assert entry["fieldsV1"] == {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:strategy": {"f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
            "f:template": {"f:spec": {"f:containers": {'k:{"name":"c"}': inside}}},
        },
    }


def test_old_updaters_are_united() -> None:
    live = created(deployment(replicas=0), ANN)
    for number in range(1, 15):
        live = update(
            live,
            FieldManager(f"m{number:02}", "apps/v1", f"2026-02-{number:02}T00:00:00Z"),
            **live["spec"] | {f"unknown{number}": 1},
        )
    names = [e["manager"] for e in live["metadata"]["managedFields"]]
    assert len(names) == 10
    assert names[0] == "ancient-changes"
    assert ".spec.unknown3" in owners(live)["ancient-changes"]


def test_unshared_order_of_lists() -> None:
    def named(*names: str) -> Object:
        return deployment(**containers(*({"name": n, "image": "i"} for n in names)))

    def order(live: Object, wanted: Object) -> list[str]:
        return [c["name"] for c in apply(live, wanted, BOB)["spec"]["template"]["spec"]["containers"]]

    assert order(named("a"), named("x")) == ["a", "x"]
    assert order(named("a", "b", "c"), named("c", "a")) == ["b", "c", "a"]
    assert order(named("a", "b"), named("b", "x", "a")) == ["b", "x", "a"]


def test_applying_again_changes_nothing() -> None:
    wanted = deployment(replicas=1, **containers({"name": "c", "image": "i"}))
    live = apply(None, wanted)
    later = FieldManager("ann", "apps/v1", "2027-01-01T00:00:00Z")
    assert apply(live, wanted, later) == live


def test_several_conflicts_are_all_told() -> None:
    live = apply(None, deployment(replicas=1, minReadySeconds=1))
    with pytest.raises(Conflict) as caught:
        apply(live, deployment(replicas=2, minReadySeconds=2), BOB)
    told = 'Apply failed with 2 conflicts: conflicts with "ann":\n- .spec.minReadySeconds\n- .spec.replicas'
    assert caught.value.message == told


def test_atomic_maps_and_empty_values() -> None:
    live = apply(None, deployment(selector={"matchLabels": {"a": "1"}}))
    assert ".spec.selector" in owners(live)["ann"]
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {}}
    assert patch.apply(None, config, CONFIG_MAP, ANN)["data"] == {}


def test_what_cannot_be_applied() -> None:
    with pytest.raises(BadRequest):
        apply(None, {"metadata": {"managedFields": [{}]}})
    keyless = {"image": "keyless"}
    strange = {"name": "c", "imagee": "i", "env": [{"name": "A", "value": 1}, {"name": "A"}]}
    within = ".spec.template.spec.containers"
    assert typed.problems(deployment(replicas="3", x=1, **containers(keyless, strange)), DEPLOYMENT) == [
        ".spec.replicas: expected numeric (int or float), got string",
        ".spec.x: field not declared in schema",
        f'{within}: element 0: associative list with keys has an element that omits key field "name" '
        "(and doesn't have default value)",
        f'{within}[name="c"].imagee: field not declared in schema',
        f'{within}[name="c"].env[name="A"].value: expected string, got &value.valueUnstructured{{Value:1}}',
        f'{within}[name="c"].env: duplicate entries for key [name="A"]',
    ]


FREE = Schema("object", open=True)
WIDGET = Schema("object", open=True)
WIDGET.fields["names"] = Schema("list", item=Schema("string"), list_type="set")
WIDGET.fields["free"] = FREE


def test_an_empty_list_of_named_elements_is_nobodys() -> None:
    made = patch.apply(None, {"metadata": {}, "names": [], "other": []}, WIDGET, ANN, typed=False)
    assert owners(made) == {"ann": [".other"]}
    assert made["names"] == []


def test_conflicts_are_told_level_by_level_and_managers_as_upstream_sorts_them() -> None:
    sub = FieldManager("ann", "v1", "", "status")
    live: Object | None = None
    for manager in (ANN, sub):
        live = patch.apply(live, {"metadata": {}, "free": {"a": {"b": 0}, "d": 0}}, WIDGET, manager, typed=False)
    with pytest.raises(Conflict) as caught:
        patch.apply(live, {"metadata": {}, "free": {"a": {"b": 1}, "d": 1}}, WIDGET, BOB, typed=False)
    assert caught.value.message.splitlines() == [
        'Apply failed with 4 conflicts: conflicts with "ann" with subresource "status":',
        *("- .free.d", "- .free.a.b"),
        'conflicts with "ann":',
        *("- .free.d", "- .free.a.b"),
    ]


def test_what_was_in_a_map_that_became_a_number_is_nobodys() -> None:
    live = patch.apply(None, {"metadata": {}, "free": {"b": {"a": 0}, "c": 1}}, WIDGET, ANN, typed=False)
    taken = patch.apply(live, {"metadata": {}, "free": {"b": 0}}, WIDGET, BOB, force=True, typed=False)
    assert owners(taken) == {"ann": [".free.c"], "bob": [".free.b"]}


def test_who_still_says_an_emptied_map_keeps_none_of_it() -> None:
    """Upstream leaves null, which a Go struct does not have, and which other kinds only have where they may."""
    live = patch.apply(None, {"metadata": {}, "free": {"a": 0}}, WIDGET, ANN, typed=False)
    assert patch.apply(live, {"metadata": {}, "free": {}}, WIDGET, ANN, typed=False)["free"] is None
    assert "free" not in patch.apply(live, {"metadata": {}, "free": {}}, WIDGET, ANN)
    gone = patch.apply(live, {"metadata": {}, "free": {}}, WIDGET, ANN, typed=False)
    assert patch.apply(gone, {"metadata": {}, "free": {"a": 1}}, WIDGET, BOB, typed=False)["free"] == {"a": 1}


def test_a_map_whose_members_went_stays_a_leaf() -> None:
    have = {"f:m": {"f:a": {".": {}, "f:b": {}}}}
    assert fields.minus(have, {"f:m": {"f:a": {"f:b": {}}}}) == {"f:m": {"f:a": {}}}
