"""The API as the clients that people use see it: kubectl, and the official Python client."""

import shutil
from typing import Any

import pytest
from kubernetes import client, config, dynamic, watch

from tests.control_plane import BIN, ApiServerProgram

KUBECTLS = [str(BIN / "kubectl"), "/usr/bin/kubectl"]

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "web:1", ports: [{containerPort: 80}]}]
"""


@pytest.fixture(params=KUBECTLS)
def kubectl(request: pytest.FixtureRequest, apiserver: ApiServerProgram, namespace: str) -> Any:
    program = request.param
    if shutil.which(program) is None:
        pytest.skip(f"no {program}")
    return lambda *arguments, stdin="": apiserver.kubectl("-n", namespace, *arguments, program=program, stdin=stdin)


def test_kubectl_lifecycle(kubectl: Any) -> None:
    assert "created" in kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    assert "configured" in kubectl("apply", "-f", "-", stdin=DEPLOYMENT.replace("web:1", "web:2"))
    assert "scaled" in kubectl("scale", "deployment/web", "--replicas=5")
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "5"
    kubectl("set", "image", "deployment/web", "web=web:3")
    kubectl("label", "deployment/web", "tier=front")
    kubectl("annotate", "deployment/web", "note=x")
    assert "READY" in kubectl("get", "deployments", "-l", "tier=front")
    assert "web:3" in kubectl("describe", "deployment", "web")
    kubectl("create", "configmap", "settings", "--from-literal=a=b")
    assert kubectl("get", "configmaps", "--field-selector=metadata.name=settings", "-o", "name").strip() == (
        "configmap/settings"
    )
    kubectl("create", "service", "clusterip", "web", "--tcp=80:80")
    assert "10.96." in kubectl("get", "service", "web")
    assert "deleted" in kubectl("delete", "deployment,service,configmap", "--all")


def test_kubectl_finds_its_way(kubectl: Any) -> None:
    assert "deployments" in kubectl("api-resources")
    assert "apps/v1" in kubectl("api-versions")
    assert "yes" in kubectl("auth", "can-i", "create", "pods")
    assert "v1.36" in kubectl("version")


def test_dynamic_client_and_watch(apiserver: ApiServerProgram, namespace: str) -> None:
    api = config.new_client_from_config(apiserver.token_kubeconfig)
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    made = maps.create(body={"metadata": {"generateName": "x-"}, "data": {"a": "b"}}, namespace=namespace)
    maps.patch(
        name=made.metadata.name,
        namespace=namespace,
        body={"data": {"c": "d"}},
        content_type="application/merge-patch+json",
    )
    core = client.CoreV1Api(api)
    core.delete_namespaced_config_map(made.metadata.name, namespace)
    stream = watch.Watch().stream(
        core.list_namespaced_config_map,
        namespace,
        resource_version=made.metadata.resourceVersion,
        timeout_seconds=5,
    )
    seen = []
    for event in stream:
        seen.append(event["type"])
        if event["type"] == "DELETED":
            break
    assert seen == ["MODIFIED", "DELETED"]
