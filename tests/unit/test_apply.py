"""Server-side apply, as the KEP and structured-merge-diff have it."""

import json
from typing import Any

import pytest

from apimachinery import patch, schema, scheme
from apimachinery.errors import BadRequest, Conflict
from apimachinery.patch import FieldManager, fields

Object = dict[str, Any]
DEPLOYMENT = schema.load().of(scheme.DEPLOYMENTS)
CONFIG_MAP = schema.load().of(scheme.CONFIG_MAPS)
ANN = FieldManager("ann", "apps/v1", "2026-01-01T00:00:00Z", ignored=("status",))
BOB = FieldManager("bob", "apps/v1", "2026-01-02T00:00:00Z", ignored=("status",))


def deployment(**spec: Any) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


def containers(*items: Object) -> Object:
    return {"template": {"spec": {"containers": list(items)}}}


def owners(obj: Object) -> dict[str, list[str]]:
    return {
        e["manager"]: sorted(fields.show(p) for p in fields.from_fields(e["fieldsV1"]))
        for e in obj["metadata"]["managedFields"]
    }


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
    # Upstream keeps an element in which something is that the applier never set.
    assert [c["name"] for c in after["spec"]["template"]["spec"]["containers"]] == ["a", "b"]
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


def test_fields_of_client_side_apply_are_told_apart() -> None:
    live = deployment(replicas=3, minReadySeconds=1)
    said = json.dumps(deployment(replicas=3))
    live["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": said}
    assert owners(apply(live, deployment(replicas=3))) == {
        "ann": [".spec.replicas"],
        "before-first-apply": [".spec.minReadySeconds"],
        "kubectl-client-side-apply": [
            ".metadata.annotations.kubectl.kubernetes.io/last-applied-configuration",
            ".spec.replicas",
        ],
    }


def test_plain_writes_take_over() -> None:
    old = apply(None, deployment(replicas=1, paused=True))
    new = patch.copy(old)
    new["spec"] = {"replicas": 5}
    patch.track(old, new, DEPLOYMENT, FieldManager("kubectl", "apps/v1", "2026-01-03T00:00:00Z"))
    assert owners(new) == {"kubectl": [".spec.replicas"]}
    with pytest.raises(Conflict, match='conflict with "kubectl" using apps/v1 at 2026-01-03T00:00:00Z'):
        apply(new, deployment(replicas=1))
    untracked = deployment(replicas=1)
    patch.track(untracked, untracked | {"spec": {}}, DEPLOYMENT, ANN)
    assert "managedFields" not in untracked["metadata"]


def test_applying_again_changes_nothing() -> None:
    wanted = deployment(replicas=1, **containers({"name": "c", "image": "i"}))
    live = apply(None, wanted)
    later = FieldManager("ann", "apps/v1", "2027-01-01T00:00:00Z", ignored=("status",))
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


def test_what_is_no_apply_configuration() -> None:
    with pytest.raises(BadRequest):
        apply(None, {"metadata": {"managedFields": [{}]}})
    with pytest.raises(BadRequest):
        apply(None, deployment(**containers({"image": "keyless"})))
