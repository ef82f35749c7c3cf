"""A custom kind as other people's programs use one: an operator on kopf, kubectl, lightkube, kr8s, dynamic clients."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import kr8s
import pytest
from kubernetes import config, dynamic
from lightkube import Client, KubeConfig
from lightkube.generic_resource import get_generic_resource, load_in_cluster_generic_resources
from lightkube.types import PatchType

from tests.control_plane import Program
from tests.e2e.local_cluster import LocalCluster
from tests.waiting import eventually

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def webs(shared: LocalCluster) -> None:
    shared.kubectl("apply", "-f", str(HERE / "web_definition.yaml"))
    shared.kubectl("wait", "--for=condition=Established", "crd/webs.example.dev", "--timeout=10s")


def web(**spec: object) -> str:
    return json.dumps({"apiVersion": "example.dev/v1", "kind": "Web", "metadata": {"name": "web"}, "spec": spec})


@pytest.fixture
def operator(shared: LocalCluster, webs: None, space: str, tmp_path: Path) -> Iterator[Program]:
    run = [sys.executable, "-m", "kopf", "run", "--standalone", f"--namespace={space}", str(HERE / "web_operator.py")]
    program = Program(["env", f"KUBECONFIG={shared.kubeconfig}", *run], tmp_path / "operator.log")
    program.start()
    yield program
    program.stop()


def test_an_operator(shared: LocalCluster, space: str, operator: Program) -> None:
    def replicas() -> int:
        return int(shared.get("deployment", "-n", space, "web")["status"].get("readyReplicas", 0))

    shared.apply(web(replicas=2), "-n", space)
    eventually(lambda: replicas() == 2)
    status = eventually(lambda: (s := shared.get("web", "-n", space, "web")["status"]) and s.get("ticks") == 3 and s)
    assert (status["seen"], status["create"], status["replicas"]) == ("1 True", "made", 2)
    made = shared.get("web", "-n", space, "web")["metadata"]
    assert made["finalizers"] == ["example.dev/kopf"]
    assert shared.get("deployment", "-n", space, "web")["metadata"]["ownerReferences"][0]["uid"] == made["uid"]
    shared.kubectl("scale", "web/web", "-n", space, "--replicas=1")
    eventually(lambda: replicas() == 1)
    told = shared.get("events", "-n", space, "--field-selector=involvedObject.name=web,reason=Served")["items"]
    assert [e["message"] for e in told] == ["made a deployment"]
    assert shared.kubectl("get", "wb", "-n", space, "--no-headers").split()[:3] == ["web", "1", "3"]
    shared.kubectl("delete", "web", "-n", space, "web", "--timeout=20s")
    shared.kubectl("get", "configmap", "-n", space, "was-web")
    eventually(lambda: not shared.get("pods", "-n", space)["items"])
    assert operator.stop() == 0
    log = operator.log.read_text()
    assert "Traceback" not in log, log


def test_kubectl_knows_a_custom_kind(shared: LocalCluster, webs: None, space: str) -> None:
    assert "How many pods serve it." in shared.kubectl("explain", "web.spec.replicas")
    for spec, why in (
        ({"replicas": 99}, "should be less than or equal to 10"),
        ({"replicas": 1, "tier": "side"}, 'supported values: "front", "back"'),
        ({"replicas": 0, "tier": "back"}, "a back is never empty"),
        ({}, "spec.replicas: Required value"),
        ({"replicas": 1, "foo": 1}, 'unknown field "spec.foo"'),
    ):
        told = shared.kubectl("create", "-n", space, "-f", "-", input=web(**spec), check=False)
        assert why in told, told
    shared.apply(web(replicas=1), "-n", space, "--server-side")
    assert shared.get("web", "-n", space, "web")["spec"] == {"replicas": 1, "tier": "front"}
    assert shared.kubectl("get", "webs", "-n", space, "--field-selector=spec.tier=back", "-o", "name") == ""
    assert "web.example.dev/web" in shared.kubectl("get", "all", "-n", space, "-o", "name")


def test_python_clients_know_a_custom_kind(shared: LocalCluster, webs: None, space: str) -> None:
    light = Client(config=KubeConfig.from_file(shared.kubeconfig).get(), namespace=space, field_manager="test")
    load_in_cluster_generic_resources(light)
    kind = get_generic_resource("example.dev/v1", "Web")
    assert kind is not None
    light.apply(kind(metadata={"name": "web"}, spec={"replicas": 2}))
    light.patch(kind.Status, "web", {"status": {"ticks": 7}}, patch_type=PatchType.MERGE)
    (found,) = kr8s.get("webs.example.dev", namespace=space, api=kr8s.api(kubeconfig=shared.kubeconfig))
    assert (found.spec.replicas, found.status.ticks) == (2, 7)
    with config.new_client_from_config(shared.kubeconfig) as api:
        webs_ = dynamic.DynamicClient(api).resources.get(api_version="example.dev/v1", kind="Web")
        named = {"name": "web", "namespace": space, "content_type": "application/merge-patch+json"}
        webs_.patch(body={"spec": {"tier": "back"}}, **named)
        assert [w.spec.tier for w in webs_.get(namespace=space).items] == ["back"]
        webs_.scale.patch(body={"spec": {"replicas": 3}}, **named)
    assert light.get(kind, "web").spec["replicas"] == 3
    light.delete(kind, "web")
