"""sig-api-machinery, namespaces: upstream's tests that start no pod. Each is named after upstream's."""

from tests.control_plane import ApiServerProgram
from tests.e2e.conformance.api import MERGE, refusal, resource
from tests.waiting import eventually


def test_should_apply_changes_to_a_namespace_status(plane: ApiServerProgram, space: str) -> None:
    namespaces = resource(plane, "namespaces")
    assert namespaces.get(space, "status")["status"]["phase"] == "Active"
    condition = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "m"}
    patched = namespaces.patch(space, {"status": {"conditions": [condition]}}, MERGE, "status")
    assert [c["type"] for c in patched["status"]["conditions"]] == ["StatusPatch"]
    patched["status"]["conditions"].append({**condition, "type": "StatusUpdate"})
    updated = namespaces.update(patched, "status")
    assert [c["type"] for c in updated["status"]["conditions"]] == ["StatusPatch", "StatusUpdate"]


def test_should_apply_a_finalizer_to_a_namespace(plane: ApiServerProgram) -> None:
    namespaces = resource(plane, "namespaces")
    made = namespaces.create({"metadata": {"generateName": "conf-finalizer-"}})
    name = made["metadata"]["name"]
    made["spec"]["finalizers"].append("e2e.example.com/fakeFinalizer")
    finalized = namespaces.update(made, "finalize")
    assert finalized["spec"]["finalizers"] == ["kubernetes", "e2e.example.com/fakeFinalizer"]
    namespaces.delete(name)
    eventually(lambda: namespaces.get(name)["spec"]["finalizers"] == ["e2e.example.com/fakeFinalizer"])
    stuck = namespaces.get(name)
    stuck["spec"]["finalizers"] = []
    namespaces.update(stuck, "finalize")
    eventually(lambda: namespaces.gone(name))


def test_should_ensure_that_all_services_are_removed_when_a_namespace_is_deleted(plane: ApiServerProgram) -> None:
    namespaces = resource(plane, "namespaces")
    namespaces.create({"metadata": {"name": "nsdeletetest"}})
    services = resource(plane, "services", namespace="nsdeletetest")
    services.create({"metadata": {"name": "test-service"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}})
    namespaces.delete("nsdeletetest")
    late = refusal(lambda: services.create({"metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}]}}))
    assert (late.code, late.reason) in ((403, "Forbidden"), (404, "NotFound"))
    eventually(lambda: namespaces.gone("nsdeletetest"))
    namespaces.create({"metadata": {"name": "nsdeletetest"}})
    assert services.names() == []


def test_should_delete_a_collection_of_namespaces_by_label(plane: ApiServerProgram) -> None:
    """Upstream's "should always delete fast": a namespace has no deletecollection."""
    kinds = plane.request("GET", "/api/v1").json["resources"]
    verbs = next(k["verbs"] for k in kinds if k["name"] == "namespaces")
    assert "deletecollection" not in verbs
