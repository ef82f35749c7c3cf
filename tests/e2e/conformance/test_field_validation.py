"""sig-api-machinery, field validation and server-side apply: upstream's tests, by upstream's names."""

import yaml

from tests.control_plane import ApiServerProgram
from tests.e2e.conformance.api import APPLY, refusal, resource

DEPLOYMENT = """
{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "my-dep", %s "labels": {"app": "nginx"}},
 "spec": {%s "selector": {"matchLabels": {"app": "nginx"}}, "template": {"metadata": {"labels": {"app": "nginx"}},
 "spec": {"containers": [{"name": "nginx", "image": "nginx:latest"}]}}}}"""


def strict(plane: ApiServerProgram, space: str, body: str) -> str:
    path = f"/apis/apps/v1/namespaces/{space}/deployments?fieldManager=field_validation_mgr&fieldValidation=Strict"
    reply = plane.request("POST", path, body.encode())
    assert reply.code == 400, reply.text
    return str(reply.json["message"])


def test_should_detect_unknown_and_duplicate_fields_of_a_typed_object(plane: ApiServerProgram, space: str) -> None:
    told = strict(plane, space, DEPLOYMENT % ("", '"unknownField": "foo", "replicas": 2, "replicas": 3,'))
    assert 'strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas"' in told


def test_should_detect_unknown_metadata_fields_of_a_typed_object(plane: ApiServerProgram, space: str) -> None:
    told = strict(plane, space, DEPLOYMENT % ('"unknownMeta": "foo",', ""))
    assert 'strict decoding error: unknown field "metadata.unknownMeta"' in told


def test_should_warn_of_unknown_fields_unless_told_otherwise(plane: ApiServerProgram, space: str) -> None:
    path = f"/apis/apps/v1/namespaces/{space}/deployments"
    reply = plane.request("POST", path, (DEPLOYMENT % ("", '"unknownField": "foo",')).encode())
    assert (reply.code, reply.headers["warning"]) == (201, '299 - "unknown field \\"spec.unknownField\\""')
    quiet = plane.request(
        "POST",
        f"{path}?fieldValidation=Ignore&dryRun=All",
        (DEPLOYMENT % ("", '"x": 1,')).replace("my-dep", "b").encode(),
    )
    assert (quiet.code, quiet.headers.get("warning")) == (201, None)


def test_should_create_an_applied_object_if_it_does_not_already_exist(plane: ApiServerProgram, space: str) -> None:
    deployments = resource(plane, "deployments", "apps", space)
    body = DEPLOYMENT % ("", "")
    made = deployments.patch("my-dep", body.encode(), APPLY, fieldManager="apply_test")
    assert [m["operation"] for m in made["metadata"]["managedFields"]] == ["Apply"]
    assert made["metadata"]["uid"]


def test_should_work_for_subresources_and_ignore_conflict_errors_if_force_apply_is_used(
    plane: ApiServerProgram, space: str
) -> None:
    deployments = resource(plane, "deployments", "apps", space)
    body = yaml.safe_load(DEPLOYMENT % ("", '"replicas": 0,'))
    deployments.patch("my-dep", body, APPLY, fieldManager="apply_test")
    condition = {"type": "MyStatus", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"apiVersion": "apps/v1", "kind": "Deployment", "status": {"conditions": [condition]}}
    shown = deployments.patch("my-dep", status, APPLY, "status", fieldManager="apply_test_2")
    assert "MyStatus" in [c["type"] for c in shown["status"]["conditions"]]
    assert {m["manager"]: m.get("subresource") for m in shown["metadata"]["managedFields"]}["apply_test_2"] == "status"
    body["spec"]["replicas"] = 3
    other = refusal(lambda: deployments.patch("my-dep", body, APPLY, fieldManager="other"))
    assert (other.code, other.reason) == (409, "Conflict")
    assert 'conflict with "apply_test": .spec.replicas' in other.message
    assert deployments.patch("my-dep", body, APPLY, fieldManager="other", force=True)["spec"]["replicas"] == 3
