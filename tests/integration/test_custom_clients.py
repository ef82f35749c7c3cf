"""Custom resources as kubectl and the official Python client use them."""

import shutil
from typing import Any

import pytest
import yaml
from kubernetes import client, config, dynamic, watch

from tests.control_plane import BIN, ApiServerProgram
from tests.custom_kinds import Custom, definition, version

SIZE = {"type": "string", "enum": ["small", "large"], "description": "How large it is."}
SPEC = {"type": "object", "description": "What it should be.", "required": ["size"]}
REPLICAS = {"type": "integer", "default": 1, "maximum": 9}
SCHEMA = {
    "type": "object",
    "description": "A thing for tests.",
    "properties": {
        "spec": {**SPEC, "properties": {"size": SIZE, "replicas": REPLICAS}},
        "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
    },
}
COLUMNS = [{"name": "Size", "type": "string", "jsonPath": ".spec.size"}]
SUBRESOURCES = {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}}


def thing(**spec: Any) -> dict[str, Any]:
    wanted = definition(
        version("v1", SCHEMA, additionalPrinterColumns=COLUMNS, subresources=SUBRESOURCES),
        version("v1alpha1", SCHEMA, deprecated=True),
    )
    names = wanted["spec"]["names"]
    names |= {
        "shortNames": [f"s{names['plural']}"],
        "categories": [f"c{names['plural']}"],
        "singular": names["plural"][:-1],
    }
    return wanted


@pytest.mark.parametrize("program", [str(BIN / "kubectl"), "/usr/bin/kubectl"])
def test_kubectl(apiserver: ApiServerProgram, namespace: str, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"no {program}")

    def kubectl(*arguments: str, stdin: str = "") -> str:
        return apiserver.kubectl("-n", namespace, *arguments, program=program, stdin=stdin)

    wanted = thing()
    plural, kind = wanted["spec"]["names"]["plural"], wanted["spec"]["names"]["kind"]
    assert "created" in kubectl("apply", "-f", "-", stdin=yaml.safe_dump(wanted))
    kubectl("wait", "--for=condition=established", f"crd/{wanted['metadata']['name']}", "--timeout=5s")
    assert kind in kubectl("api-resources", "--api-group=test.example.com")
    explained = kubectl("explain", f"{plural}.spec.size")
    assert "size <string>" in explained
    assert "How large it is." in explained
    assert "A thing for tests." in kubectl("explain", plural)
    one = yaml.safe_dump(
        {"apiVersion": "test.example.com/v1", "kind": kind, "metadata": {"name": "one"}, "spec": {"size": "small"}}
    )
    assert "created" in kubectl("apply", "-f", "-", stdin=one)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=one)
    for name in (plural, f"s{plural}", f"c{plural}", wanted["spec"]["names"]["singular"]):
        assert kubectl("get", name).split() == ["NAME", "SIZE", "one", "small"]
    assert "configured" in kubectl("apply", "-f", "-", stdin=one.replace("small", "large"))
    kubectl("scale", plural, "one", "--replicas=3")
    assert kubectl("get", plural, "one", "-o", "jsonpath={.spec}") == '{"replicas":3,"size":"large"}'
    kubectl("patch", plural, "one", "--type=merge", "--subresource=status", "-p", '{"status":{"phase":"Fine"}}')
    assert "Fine" in kubectl("get", f"{plural}.v1alpha1.test.example.com", "one", "-o", "yaml")
    assert "serverside-applied" in kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=one)
    with pytest.raises(AssertionError, match=r'strict decoding error: unknown field "spec\.colour"'):
        kubectl("apply", "-f", "-", stdin=one.replace("size:", "colour: red\n  size:"))
    with pytest.raises(
        AssertionError, match=r'spec\.size: Unsupported value: "huge": supported values: "small", "large"'
    ):
        kubectl("apply", "-f", "-", stdin=one.replace("small", "huge"))
    assert "Fine" in kubectl("describe", plural, "one")
    kubectl("delete", "crd", wanted["metadata"]["name"])
    with pytest.raises(AssertionError, match=r"a resource type|the requested resource"):
        kubectl("get", plural)


def test_the_official_client(apiserver: ApiServerProgram, namespace: str) -> None:
    custom = Custom(apiserver, thing(), namespace)
    api = config.new_client_from_config(apiserver.kubeconfig)
    objects = client.CustomObjectsApi(api)
    place = ("test.example.com", "v1", namespace, custom.plural)
    made = objects.create_namespaced_custom_object(*place, custom.obj("x", spec={"size": "small"}))
    assert made["spec"] == {"size": "small", "replicas": 1}
    seen = []
    watching = watch.Watch()
    stream = watching.stream(
        objects.list_namespaced_custom_object,
        *place,
        resource_version=made["metadata"]["resourceVersion"],
        timeout_seconds=20,
    )
    objects.patch_namespaced_custom_object(*place, "x", {"spec": {"replicas": 2}})
    objects.patch_namespaced_custom_object_status(*place, "x", {"status": {"phase": "Fine"}})
    objects.delete_namespaced_custom_object(*place, "x")
    for event in stream:
        seen.append((event["type"], event["object"]["spec"]["replicas"], event["object"].get("status")))
        if event["type"] == "DELETED":
            watching.stop()
    fine = {"phase": "Fine"}
    assert seen == [("MODIFIED", 2, None), ("MODIFIED", 2, fine), ("DELETED", 2, fine)]
    with pytest.raises(client.ApiException) as refused:
        objects.create_namespaced_custom_object(*place, custom.obj("y", spec={"size": "huge"}))
    assert refused.value.status == 422
    found = dynamic.DynamicClient(api).resources.get(api_version="test.example.com/v1", kind=custom.kind)
    found.create(body=custom.obj("z", spec={"size": "large"}), namespace=namespace)
    assert [o.spec.size for o in found.get(namespace=namespace).items] == ["large"]
    crds = client.ApiextensionsV1Api(api)
    assert crds.read_custom_resource_definition(custom.name).status.accepted_names.kind == custom.kind
    crds.delete_custom_resource_definition(custom.name)
