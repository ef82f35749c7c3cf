"""sig-api-machinery: custom resources and admission policies, as upstream's tests use them. Named after those."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from apimachinery.scheme import Kind
from tests.control_plane import ApiServerProgram
from tests.e2e.conformance.api import APPLY, JSON_PATCH, MERGE, Object, Refused, Resource, refusal, resource
from tests.waiting import eventually

ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
PORTS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
    "items": {
        "type": "object",
        "required": ["containerPort", "protocol"],
        "properties": {
            "containerPort": {"type": "integer", "format": "int32"},
            "name": {"type": "string"},
            "protocol": {"type": "string"},
        },
    },
}
SPEC = {"foo": {"type": "string"}, "cronSpec": {"type": "string"}, "ports": PORTS}
VALIDATED = {"type": "object", "properties": {"spec": {"type": "object", "properties": SPEC}}}


class Custom:
    """A definition of kind Noxu in a group of the test's own, and its objects, cluster-wide."""

    def __init__(self, server: ApiServerProgram, group: str, *schemas: Object, **version: Any) -> None:
        self.server, self.group = server, f"{group}.example.com"
        self.name = f"noxus.{self.group}"
        self.definitions = resource(server, "customresourcedefinitions", "apiextensions.k8s.io")
        versions = [
            {"name": f"v{n}", "served": True, "storage": n == 1, "schema": {"openAPIV3Schema": s}, **version}
            for n, s in enumerate(schemas, 1)
        ]
        names = {"plural": "noxus", "singular": "noxu", "kind": "Noxu", "listKind": "NoxuList"}
        spec = {"group": self.group, "scope": "Cluster", "names": names, "versions": versions}
        self.made = self.definitions.create({"metadata": {"name": self.name}, "spec": spec})
        eventually(lambda: self.condition("Established") == "True")
        self.objects = Resource(server, Kind(self.group, "v1", "Noxu", "noxus", namespaced=False))

    def condition(self, kind: str) -> str:
        conditions = self.definitions.get(self.name)["status"].get("conditions") or ()
        return next((c["status"] for c in conditions if c["type"] == kind), "")

    def apply(self, name: str, text: str) -> Object:
        head = f"apiVersion: {self.group}/v1\nkind: Noxu\n"
        body = f"{head}metadata: {{name: {name}, finalizers: [example.com/test]}}\n{text}".encode()
        return self.objects.patch(name, body, APPLY, fieldManager="mgr", fieldValidation="Strict")

    def definition(self) -> Object:
        """The kind in ``/openapi/v2``."""
        name = ".".join([*reversed(self.group.split(".")), "v1", "Noxu"])
        found: Object = self.server.request("GET", "/openapi/v2").json["definitions"].get(name)
        return found


@pytest.fixture
def group(space: str, plane: ApiServerProgram) -> Iterator[str]:
    yield space
    resource(plane, "customresourcedefinitions", "apiextensions.k8s.io").delete_collection(
        fieldSelector=f"metadata.name=noxus.{space}.example.com"
    )


def test_creating_deleting_custom_resource_definition_objects_works(plane: ApiServerProgram, group: str) -> None:
    custom = Custom(plane, group, ANYTHING)
    assert custom.condition("NamesAccepted") == "True"
    made = custom.objects.create({"metadata": {"name": "a"}})
    watch = custom.objects.watch(resourceVersion=made["metadata"]["resourceVersion"])
    custom.objects.delete("a")
    assert watch.next()[0] == "DELETED"
    custom.definitions.delete(custom.name)
    eventually(lambda: custom.definitions.gone(custom.name))
    eventually(lambda: refusal(lambda: custom.objects.names()).code == 404)


def test_getting_updating_patching_custom_resource_definition_status_sub_resource_works(
    plane: ApiServerProgram, group: str
) -> None:
    custom = Custom(plane, group, ANYTHING)
    shown = custom.definitions.get(custom.name, "status")
    condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}

    def update() -> Object:
        now = custom.definitions.get(custom.name)
        now["status"]["conditions"].append(condition)
        return custom.definitions.update(now, "status")

    assert "StatusUpdate" in [c["type"] for c in eventually(update)["status"]["conditions"]]
    operation = {"op": "add", "path": "/status/conditions", "value": [{**condition, "type": "StatusPatched"}]}
    patched = custom.definitions.patch(custom.name, [operation], JSON_PATCH, "status")
    assert "StatusPatched" in [c["type"] for c in patched["status"]["conditions"]]
    assert patched["spec"] == shown["spec"]


def test_custom_resource_defaulting_for_requests_and_from_storage_works(plane: ApiServerProgram, group: str) -> None:
    strings = {"a": {"type": "string", "default": "A"}, "b": {"type": "string"}}
    custom = Custom(plane, group, {"type": "object", "properties": strings})
    assert custom.objects.create({"metadata": {"name": "x"}})["a"] == "A"
    path = "/spec/versions/0/schema/openAPIV3Schema/properties"
    operations = [
        {"op": "add", "path": f"{path}/b/default", "value": "B"},
        {"op": "remove", "path": f"{path}/a/default"},
    ]
    custom.definitions.patch(custom.name, operations, JSON_PATCH)
    eventually(lambda: custom.objects.get("x").get("b") == "B")
    assert custom.objects.get("x")["a"] == "A"


def test_should_create_apply_a_valid_cr_for_crd_with_validation_schema(plane: ApiServerProgram, group: str) -> None:
    made = Custom(plane, group, VALIDATED).apply(
        "mytest", "spec: {foo: foo1, ports: [{name: x, containerPort: 80, protocol: TCP}]}"
    )
    assert made["spec"]["ports"] == [{"name": "x", "containerPort": 80, "protocol": "TCP"}]


def test_should_create_apply_a_cr_with_unknown_fields_for_crd_with_no_validation_schema(
    plane: ApiServerProgram, group: str
) -> None:
    assert Custom(plane, group, ANYTHING).apply("mytest", "spec: {unknown: uk1}")["spec"] == {"unknown": "uk1"}


def test_should_create_apply_an_invalid_cr_with_extra_properties_for_crd_with_validation_schema(
    plane: ApiServerProgram, group: str
) -> None:
    custom = Custom(plane, group, VALIDATED)
    told = refusal(lambda: custom.apply("mytest", "unknownField: unknown\nspec: {foo: foo1}"))
    assert ".unknownField: field not declared in schema" in told.message


def test_should_detect_unknown_metadata_fields_in_both_the_root_and_embedded_object_of_a_cr(
    plane: ApiServerProgram, group: str
) -> None:
    embedded = {**ANYTHING, "x-kubernetes-embedded-resource": True}
    template = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"template": embedded}}
    custom = Custom(plane, group, {"type": "object", "properties": {"spec": template}})
    body = {"apiVersion": f"{custom.group}/v1", "kind": "Noxu", "metadata": {"name": "m", "unknownMeta": "x"}}
    body["spec"] = {
        "template": {"apiVersion": "foo/v1", "kind": "Sub", "metadata": {"name": "s", "unknownSubMeta": "y"}}
    }
    told = refusal(lambda: custom.objects.create(body, fieldValidation="Strict"))
    assert 'unknown field "metadata.unknownMeta"' in told.message
    assert 'unknown field "spec.template.metadata.unknownSubMeta"' in told.message


def test_should_detect_duplicates_in_a_cr_when_preserving_unknown_fields(plane: ApiServerProgram, group: str) -> None:
    custom = Custom(plane, group, {"type": "object", "properties": {"spec": {**ANYTHING, "properties": SPEC}}})
    told = refusal(lambda: custom.apply("mytest", "spec: {unknown: a, unknown: b, foo: c, foo: d}"))
    assert 'key "unknown" already set in map' in told.message and 'key "foo" already set in map' in told.message
    head = f'"apiVersion": "{custom.group}/v1", "kind": "Noxu", "metadata": {{"name": "m"}}'
    text = f'{{{head}, "spec": {{"foo": "a", "foo": "b"}}}}'
    reply = plane.request("POST", f"/apis/{custom.group}/v1/noxus?fieldValidation=Strict", text.encode())
    assert (reply.code, 'strict decoding error: duplicate field "spec.foo"' in reply.json["message"]) == (400, True)


def test_works_for_crd_with_validation_schema(plane: ApiServerProgram, group: str) -> None:
    """CustomResourcePublishOpenAPI: what ``/openapi/v2`` says is the schema, and the envelope."""
    described = {"type": "object", "description": "Foo CRD for Testing", **VALIDATED}
    custom = Custom(plane, group, described)
    found = eventually(custom.definition)
    assert found["x-kubernetes-group-version-kind"] == [{"group": custom.group, "version": "v1", "kind": "Noxu"}]
    properties = {k: v for k, v in found["properties"].items() if k not in ("apiVersion", "kind", "metadata")}
    assert (found["description"], properties) == ("Foo CRD for Testing", VALIDATED["properties"])
    path = plane.request("GET", "/openapi/v3").json["paths"][f"apis/{custom.group}/v1"]["serverRelativeURL"]
    schemas = plane.request("GET", path).json["components"]["schemas"]
    assert any(name.endswith(".v1.Noxu") for name in schemas)


def test_works_for_crd_preserving_unknown_fields_at_the_schema_root(plane: ApiServerProgram, group: str) -> None:
    custom = Custom(plane, group, {**ANYTHING, "description": "preserve-unknown-properties at root for Testing"})
    found = eventually(custom.definition)
    assert found["type"] == "object"
    assert set(found.get("properties") or {}) <= {"apiVersion", "kind", "metadata"}


def test_updates_the_published_spec_when_one_version_gets_renamed_or_not_served(
    plane: ApiServerProgram, group: str
) -> None:
    custom = Custom(plane, group, VALIDATED, VALIDATED)
    assert eventually(custom.definition)

    def second() -> bool:
        definitions = plane.request("GET", "/openapi/v2").json["definitions"]
        return ".".join([*reversed(custom.group.split(".")), "v2", "Noxu"]) in definitions

    eventually(second)
    custom.definitions.patch(
        custom.name, [{"op": "replace", "path": "/spec/versions/1/served", "value": False}], JSON_PATCH
    )
    eventually(lambda: not second())
    assert custom.definition()


def test_aggregated_discovery_for_crds(plane: ApiServerProgram, group: str) -> None:
    custom = Custom(plane, group, ANYTHING)
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}

    def groups() -> list[str]:
        return [g["metadata"]["name"] for g in plane.request("GET", "/apis", headers=accept).json["items"]]

    eventually(lambda: custom.group in groups())


def test_crd_selectable_fields(plane: ApiServerProgram, group: str) -> None:
    schema = {"type": "object", "properties": {"color": {"type": "string"}, "n": {"type": "integer"}}}
    custom = Custom(plane, group, schema, selectableFields=[{"jsonPath": ".color"}, {"jsonPath": ".n"}])
    for name, color in (("a", "blue"), ("b", "green")):
        custom.objects.create({"metadata": {"name": name}, "color": color, "n": 1})
    assert custom.objects.names(fieldSelector="color=blue,n=1") == ["a"]
    watch = custom.objects.watch(fieldSelector="color=blue")
    assert watch.next()[0] == "ADDED"
    custom.objects.patch("a", {"color": "red"}, MERGE)
    assert watch.next()[0] == "DELETED"
    assert refusal(lambda: custom.objects.names(fieldSelector="shape=x")).code == 400


# Policies


def policy(plane: ApiServerProgram, space: str, kind: str, spec: Object) -> Resource:
    """A policy on Deployments of one namespace, bound."""
    name, group = f"p-{space}", "admissionregistration.k8s.io"
    policies = resource(plane, f"{kind}policies", group)
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}}}
    match = {"resourceRules": [rule], **here}
    policies.create({"metadata": {"name": name}, "spec": {"matchConstraints": match, "failurePolicy": "Fail", **spec}})
    actions = {"validationActions": ["Deny"]} if kind == "validatingadmission" else {}
    bindings = resource(plane, f"{kind}policybindings", group)
    bindings.create({"metadata": {"name": name}, "spec": {"policyName": name, "matchResources": here, **actions}})
    return policies


def web(replicas: int, **labels: str) -> Object:
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "x"}}, "template": template}
    return {"metadata": {"generateName": "d-", "labels": labels}, "spec": spec}


def test_validatingadmissionpolicy_should_validate_against_a_deployment(plane: ApiServerProgram, space: str) -> None:
    told = "'wants replicas > 1, got ' + string(object.spec.replicas)"
    many_ = {"expression": "object.spec.replicas <= variables.many", "message": "too many", "reason": "Forbidden"}
    variables = [{"name": "most", "expression": "2"}, {"name": "many", "expression": "variables.most * 2"}]
    validations = [{"expression": "object.spec.replicas > 1", "messageExpression": told}, many_]
    spec = {"variables": variables, "validations": validations}
    policies = policy(plane, space, "validatingadmission", spec)
    deployments = resource(plane, "deployments", "apps", space)

    def denied(replicas: int) -> Refused | None:
        try:
            deployments.create(web(replicas), dryRun="All")
        except Refused as refused:
            return refused
        return None

    few = eventually(lambda: denied(1))
    assert (few.code, few.reason, "wants replicas > 1, got 1" in few.message) == (422, "Invalid", True)
    many = denied(9)
    assert many is not None and (many.code, "too many" in many.message) == (403, True)
    assert denied(2) is None
    assert policies.get(f"p-{space}")["spec"]["failurePolicy"] == "Fail"


def test_validatingadmissionpolicy_should_refuse_what_does_not_compile(plane: ApiServerProgram, space: str) -> None:
    spec = {"validations": [{"expression": "object.spec.replicas >"}]}
    told = refusal(lambda: policy(plane, space, "validatingadmission", spec))
    assert (told.code, "compilation failed" in told.message) == (422, True)


def test_mutatingadmissionpolicy_should_mutate_a_deployment(plane: ApiServerProgram, space: str) -> None:
    expression = 'Object{metadata: Object.metadata{labels: {"mutated": "yes"}}}'
    spec = {
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    }
    policy(plane, space, "mutatingadmission", spec)
    deployments = resource(plane, "deployments", "apps", space)
    made = eventually(lambda: (d := deployments.create(web(1, a="b")))["metadata"]["labels"].get("mutated") and d)
    assert made["metadata"]["labels"] == {"a": "b", "mutated": "yes"}


def test_definitions_are_the_same_in_yaml_and_json(plane: ApiServerProgram, group: str) -> None:
    """What is stored of a definition is what was sent, whatever wrote it."""
    schema = {"type": "object", "properties": {"n": {"type": "number", "minimum": 0, "default": 0, "enum": [0, 1.5]}}}
    custom = Custom(plane, group, schema)
    assert custom.made["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == yaml.safe_load(json.dumps(schema))
