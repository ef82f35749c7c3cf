"""The pure rules of the write pipeline and of selections: no store, no loop."""

from datetime import UTC, datetime
from typing import Any

import pytest

from apimachinery import scheme
from apimachinery.errors import BadRequest, Conflict, Invalid
from master.apiserver.registry import deletion, metadata, parts
from master.apiserver.registry.deletion import DeleteOptions
from master.apiserver.registry.kinds import STRATEGIES
from master.apiserver.registry.read_options import decode_token, encode_token
from master.apiserver.registry.selection import Selection
from master.apiserver.registry.strategy import Strategy
from master.apiserver.rest.negotiation import accept
from master.apiserver.rest.request import Place, parse_path
from master.apiserver.storage import codec
from master.apiserver.storage.entry import Entry
from master.apiserver.storage.keys import KeySpace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PODS = STRATEGIES["", "pods"](scheme.PODS)
MAPS = Strategy(scheme.CONFIG_MAPS)


def pod(node: str = "n", **meta: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"terminationGracePeriodSeconds": 30}
    if node:
        spec["nodeName"] = node
    return {"metadata": {"name": "p", "uid": "u", "generation": 1, **meta}, "spec": spec, "status": {}}


def test_a_pod_on_a_node_waits_for_it() -> None:
    outcome = deletion.plan(PODS, pod(), DeleteOptions(), NOW)
    assert not outcome.remove
    assert outcome.obj is not None
    marked = outcome.obj["metadata"]
    assert marked["deletionTimestamp"] == "2026-01-01T00:00:30Z"
    assert (marked["deletionGracePeriodSeconds"], marked["generation"]) == (30, 2)
    again = deletion.plan(PODS, outcome.obj, DeleteOptions(), NOW)
    assert (again.remove, again.obj) == (False, None)
    shorter = deletion.plan(PODS, outcome.obj, DeleteOptions(grace_period_seconds=10), NOW)
    assert shorter.obj is not None
    assert shorter.obj["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:10Z"
    assert deletion.plan(PODS, outcome.obj, DeleteOptions(grace_period_seconds=0), NOW).remove


def test_what_nobody_holds_goes_at_once() -> None:
    assert deletion.plan(PODS, pod(node=""), DeleteOptions(), NOW).remove
    assert deletion.plan(MAPS, {"metadata": {"name": "x"}}, DeleteOptions(), NOW).remove


@pytest.mark.parametrize(
    ("policy", "before", "after"),
    [
        ("Foreground", [], ["foregroundDeletion"]),
        ("Orphan", ["a/b"], ["a/b", "orphan"]),
        ("Background", ["a/b", "foregroundDeletion"], ["a/b"]),
        ("", ["orphan"], ["orphan"]),
    ],
)
def test_propagation_is_written_as_finalizers(policy: str, before: list[str], after: list[str]) -> None:
    obj = {"metadata": {"name": "x", "finalizers": before}}
    outcome = deletion.plan(MAPS, obj, DeleteOptions(propagation_policy=policy), NOW)
    assert outcome.obj is not None
    assert outcome.obj["metadata"]["finalizers"] == after


def test_delete_options_are_checked() -> None:
    with pytest.raises(Invalid):
        DeleteOptions.from_json({"propagationPolicy": "Sideways"})
    with pytest.raises(Invalid):
        DeleteOptions.from_json({"dryRun": ["Some"]})
    with pytest.raises(Conflict):
        deletion.check_preconditions(scheme.PODS, pod(), DeleteOptions(uid="other"))


def test_an_update_keeps_what_the_server_owns() -> None:
    old = {"metadata": {"name": "x", "uid": "u", "creationTimestamp": "t", "generation": 3}, "spec": {"a": 1}}
    new: dict[str, Any] = {"metadata": {"name": "x", "generation": 9, "labels": {"l": "v"}}, "spec": {"a": 2}}
    metadata.carry_over(scheme.DEPLOYMENTS, new, old)
    metadata.bump_generation(scheme.DEPLOYMENTS, new, old)
    assert new["metadata"] == {"name": "x", "uid": "u", "creationTimestamp": "t", "generation": 4, "labels": {"l": "v"}}
    with pytest.raises(Conflict):
        metadata.carry_over(scheme.DEPLOYMENTS, {"metadata": {"name": "x", "uid": "another"}}, old)


def test_scale_is_a_view_of_the_workload() -> None:
    workload = {"metadata": {"name": "x", "uid": "u"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}}}
    scale = parts.to_scale(scheme.DEPLOYMENTS, workload)
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 0, "selector": "a=b"})
    scale["spec"]["replicas"] = 5
    assert parts.from_scale(scale, workload)["spec"]["replicas"] == 5
    assert workload["spec"]["replicas"] == 2
    with pytest.raises(BadRequest):
        parts.from_scale({"spec": {"replicas": -1}}, workload)


def test_selection() -> None:
    value = codec.encode(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"nodeName": "n"}}
    )
    entry = Entry("ns/p", value, 7, PODS.field_labels)

    def selects(labels: str = "", fields: str = "", namespace: str = "ns") -> bool:
        wanted = Selection.parse(PODS, namespace, labels, fields).accept()
        return wanted is None or wanted(entry)

    assert selects()
    assert selects("a in (b,c)", "spec.nodeName=n,metadata.name=p")
    assert not selects("a!=b")
    assert not selects(fields="spec.nodeName!=n")
    assert not selects(namespace="other")
    assert Selection.parse(PODS, "", "", "spec.nodeName=n").pin == ("spec.nodeName", "n")
    with pytest.raises(BadRequest, match="field label not supported"):
        Selection.parse(PODS, "", "", "spec.nothing=1")


def test_stored_bytes_carry_no_version_and_shown_ones_do() -> None:
    obj = {
        "kind": "Pod",
        "spec": {"metadata": {}},
        "metadata": {"resourceVersion": "1", "name": "p"},
        "apiVersion": "v1",
    }
    value = codec.encode(obj)
    assert value.startswith(b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}')
    shown = codec.splice(value, 12)
    assert codec.decode(shown)["metadata"] == {"resourceVersion": "12", "name": "p"}
    assert codec.decode(codec.with_revision(shown, 345))["metadata"]["resourceVersion"] == "345"
    foreign = b'{"spec":{"metadata":{"x":1}},"metadata":{},"kind":"Pod","apiVersion":"v1"}'
    assert codec.decode(codec.splice(foreign, 3)) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"resourceVersion": "3"},
        "spec": {"metadata": {"x": 1}},
    }


def test_keys_are_upstreams() -> None:
    keys = KeySpace("/registry/")
    assert keys.key(scheme.SERVICES, "a", "b") == "/registry/services/specs/a/b"
    assert keys.key(scheme.NODES, "", "n") == "/registry/minions/n"
    assert keys.key(scheme.DEPLOYMENTS, "a", "b") == "/registry/apps/deployments/a/b"
    for kind in scheme.KINDS:
        key = keys.key(kind, "a" if kind.namespaced else "", "b")
        assert keys.split(key)[1] == ("a/b" if kind.namespaced else "b")


def test_paths() -> None:
    assert parse_path("/api/v1/namespaces/a/pods/p/log") == Place("", "v1", "pods", "a", "p", "log")
    assert parse_path("/api/v1/namespaces/a/finalize") == Place("", "v1", "namespaces", "", "a", "finalize")
    assert parse_path("/apis/apps/v1/deployments") == Place("apps", "v1", "deployments")
    assert parse_path("/api/v1/namespaces/a/services/s:80/proxy/x/y") == (
        Place("", "v1", "services", "a", "s:80", "proxy", "/x/y")
    )
    assert parse_path("/apis/apps/v1") is None


def test_continue_tokens_and_accept() -> None:
    assert decode_token(encode_token(5, "a/b\0")) == (5, "a/b\0")
    with pytest.raises(BadRequest):
        decode_token("nonsense")
    table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    assert accept(table).shape == "Table"
    assert accept("application/vnd.kubernetes.protobuf,application/json").shape == ""
    assert accept("application/json;q=0.1, application/yaml").media_type == "application/yaml"
