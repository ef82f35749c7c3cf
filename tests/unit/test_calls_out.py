"""Webhooks and aggregated APIs: what is decided before and after somebody is called."""

from typing import Any

import pytest

from apimachinery import scheme
from master.apiserver.admission.matching import Rule, matched_kind
from master.apiserver.admission.webhooks import review
from master.apiserver.aggregation.availability import obstacle
from master.apiserver.aggregation.documents import aggregated_resources
from master.apiserver.aggregation.registration import ALWAYS, ON_START, changes, local, of_definitions
from master.apiserver.outgoing.client import CallFailed, url_of

V1, V2 = (scheme.BUILTIN.by_resource("autoscaling", v, "horizontalpodautoscalers") for v in ("v1", "v2"))
assert V1 and V2


def rule(resources: str = "*", **other: Any) -> Rule:
    every: dict[str, Any] = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"]}
    return Rule.from_json(every | {"resources": resources.split()} | other)


@pytest.mark.parametrize(
    ("resources", "subresource", "matches"),
    [
        ("pods", "", True),
        ("pods", "status", False),
        ("pods/status", "status", True),
        ("pods/*", "", True),
        ("*", "", True),
        ("*", "status", False),
        ("*/*", "status", True),
        ("*/scale pods/exec", "exec", True),
        ("services", "", False),
    ],
)
def test_rules_name_resources_and_subresources(resources: str, subresource: str, matches: bool) -> None:
    assert rule(resources).matches(scheme.PODS, subresource, "CREATE") is matches


def test_rules_tell_scopes_and_operations() -> None:
    assert rule(scope="Namespaced").matches(scheme.PODS, "", "CREATE")
    assert not rule(scope="Cluster").matches(scheme.PODS, "", "CREATE")
    assert rule(scope="Cluster").matches(scheme.NAMESPACES, "", "CREATE")
    assert not rule(operations=["UPDATE"]).matches(scheme.PODS, "", "CREATE")


def test_the_kind_itself_comes_before_its_equivalents() -> None:
    first = rule("horizontalpodautoscalers", apiVersions=["v1"])
    both = [first, rule("horizontalpodautoscalers", apiVersions=["v2"])]
    assert matched_kind(both, V2, "", "CREATE", [V1]) is V2
    assert matched_kind([first], V2, "", "CREATE", [V1]) is V1
    assert matched_kind([first], V2, "", "CREATE", []) is None


def answer(**response: Any) -> dict[str, Any]:
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": {"uid": "u", **response}}


@pytest.mark.parametrize(
    ("given", "mutating", "why"),
    [
        ({"kind": "Status", "apiVersion": "v1"}, True, "expected webhook response of admission.k8s.io/v1"),
        (answer() | {"response": None}, True, "webhook response was absent"),
        (answer(uid="other"), True, 'expected response.uid="u", got "other"'),
        (answer(patch="W10="), True, "response.patch but not response.patchType"),
        (answer(patchType="JSONPatch"), True, "response.patchType but not response.patch"),
        (answer(patch="W10=", patchType="Other"), True, 'invalid response.patchType of "Other"'),
        (answer(patch="W10="), False, "validating webhook may not return response.patch"),
    ],
)
def test_answers_that_are_none(given: dict[str, Any], mutating: bool, why: str) -> None:
    with pytest.raises(review.InvalidAnswer, match=why):
        review.verify(given, "u", "v1", mutating=mutating)


def test_a_denial_is_never_a_success() -> None:
    for status, code, message in (
        ({}, 400, "without explanation"),
        ({"code": 200, "message": "m"}, 400, "m"),
        ({"code": 418, "reason": "Teapot"}, 418, "Teapot"),
    ):
        error = review.denial("w", {"status": status})
        assert error.status_code == code and error.message.endswith(message)
        assert error.to_status()["status"] == "Failure"


def test_where_a_webhook_is() -> None:
    service = {"namespace": "ns", "name": "svc", "path": "/a/b", "port": 8443}
    assert url_of({"service": service}) == "https://svc.ns.svc:8443/a/b"
    assert url_of({"service": {"namespace": "ns", "name": "svc"}}) == "https://svc.ns.svc:443/"
    with pytest.raises(CallFailed):
        url_of({"url": "http://in.the.clear"})


def test_what_keeps_an_api_service_from_answering() -> None:
    reference = {"namespace": "ns", "name": "svc", "port": 443}
    service = {"spec": {"ports": [{"port": 443, "name": "https"}]}}
    ready = {"ports": [{"name": "https", "port": 1}], "endpoints": [{"conditions": {"ready": True}}]}
    unready = ready | {"endpoints": [{"conditions": {"ready": False}}]}

    def reason(service: Any, *slices: Any, **other: Any) -> str:
        found = obstacle(reference | other, service, list(slices))
        return str(found["reason"]) if found else ""

    assert reason(None) == "ServiceNotFound"
    assert reason(service, ready, port=80) == "ServicePortError"
    assert reason(service) == "EndpointsNotFound"
    assert reason(service, unready) == reason(service, ready | {"ports": [{"port": 1}]}) == "MissingEndpoints"
    assert reason(service, unready, ready) == ""
    assert reason({"spec": {"type": "ExternalName"}}) == ""


def test_api_services_follow_definitions() -> None:
    versions = [{"name": "v1", "served": True}, {"name": "v2", "served": False}]
    wanted = {a["metadata"]["name"]: a for a in of_definitions([{"spec": {"group": "g.io", "versions": versions}}])}
    assert list(wanted) == ["v1.g.io"]
    made, gone = changes(wanted, {})
    assert (made, gone) == ([wanted["v1.g.io"]], [])
    others = {
        "v1.old.io": local("old.io", "v1", (1, 1), ALWAYS),
        "v1.apps": local("apps", "v1", (1, 1), ON_START),
        "v1.taken.io": local("taken.io", "v1", (1, 1), ALWAYS),
    }
    others["v1.taken.io"]["spec"]["service"] = {"name": "a", "namespace": "b"}
    assert changes(wanted, wanted | others) == ([], ["v1.old.io"])


def test_classic_resources_in_the_aggregated_form() -> None:
    listed = {
        "resources": [
            {"name": "things", "singularName": "thing", "namespaced": True, "kind": "Thing", "verbs": ["get"]},
            {"name": "things/scale", "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"]},
        ]
    }
    (resource,) = aggregated_resources(listed)
    assert resource["responseKind"] == {"group": "", "version": "", "kind": "Thing"}
    assert resource["subresources"][0]["responseKind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
