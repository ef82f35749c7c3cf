"""sig-api-machinery, quotas: upstream's tests that start no pod. Each is named after upstream's."""

from typing import Any

import pytest

from tests.control_plane import ApiServerProgram
from tests.e2e.conformance.api import Object, Resource, refusal, resource
from tests.waiting import eventually


def used(quotas: Resource, name: str, **expected: str) -> bool:
    status = quotas.get(name)["status"]
    found: bool = status.get("used", {}) == {
        **status.get("used", {}),
        **{k.replace("__", "."): v for k, v in expected.items()},
    }
    return found


def quota(plane: ApiServerProgram, space: str, hard: Object, **spec: Any) -> Resource:
    quotas = resource(plane, "resourcequotas", namespace=space)
    quotas.create({"metadata": {"name": "test-quota"}, "spec": {"hard": hard, **spec}})
    eventually(lambda: quotas.get("test-quota")["status"].get("hard") == hard)
    return quotas


def test_should_create_a_resourcequota_and_capture_the_life_of_a_service(plane: ApiServerProgram, space: str) -> None:
    quotas = quota(plane, space, {"services": "2", "services.nodeports": "1", "services.loadbalancers": "1"})
    services = resource(plane, "services", namespace=space)
    port = {"ports": [{"port": 80}]}
    services.create({"metadata": {"name": "cluster-ip"}, "spec": port})
    eventually(lambda: used(quotas, "test-quota", services="1"))
    services.create({"metadata": {"name": "node-port"}, "spec": port | {"type": "NodePort"}})
    refused = refusal(lambda: services.create({"metadata": {"name": "third"}, "spec": port | {"type": "LoadBalancer"}}))
    assert (refused.code, "exceeded quota: test-quota" in refused.message) == (403, True)
    eventually(lambda: quotas.get("test-quota")["status"]["used"] == {
        "services": "2", "services.nodeports": "1", "services.loadbalancers": "0"})  # fmt: skip
    services.delete("node-port")
    eventually(lambda: used(quotas, "test-quota", services="1"))


@pytest.mark.parametrize(
    ("counted", "name", "group", "body"),
    [
        ("secrets", "secrets", "", {}),
        ("configmaps", "configmaps", "", {}),
        ("replicationcontrollers", "replicationcontrollers", "", {"spec": {
            "replicas": 0, "selector": {"a": "b"},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
        ("count/replicasets.apps", "replicasets", "apps", {"spec": {
            "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
        ("persistentvolumeclaims", "persistentvolumeclaims", "", {"spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    ],
)  # fmt: skip
def test_should_create_a_resourcequota_and_capture_the_life_of(
    plane: ApiServerProgram, space: str, counted: str, name: str, group: str, body: Object
) -> None:
    objects = resource(plane, name, group, space)
    if name == "configmaps":
        eventually(lambda: "kube-root-ca.crt" in objects.names())
    before = len(objects.names())
    quotas = quota(plane, space, {counted: str(before + 1)})
    eventually(lambda: used(quotas, "test-quota", **{counted: str(before)}))
    objects.create({"metadata": {"name": "test"}, **body})
    eventually(lambda: used(quotas, "test-quota", **{counted: str(before + 1)}))
    assert refusal(lambda: objects.create({"metadata": {"name": "more"}, **body})).code == 403
    objects.delete("test")
    eventually(lambda: used(quotas, "test-quota", **{counted: str(before)}))


def test_should_create_a_resourcequota_and_capture_the_life_of_a_pod(plane: ApiServerProgram, space: str) -> None:
    hard = {"pods": "2", "cpu": "1", "memory": "500Mi", "requests.example.com/dongle": "3", "ephemeral-storage": "50Gi"}
    quotas, pods = quota(plane, space, hard), resource(plane, "pods", namespace=space)

    def pod(name: str, **requests: str) -> Object:
        named = {k.replace("_", "-"): v for k, v in requests.items()} | {"example.com/dongle": "2"}
        limits = {"example.com/dongle": "2"}
        container = {"name": "pause", "image": "pause", "resources": {"requests": named, "limits": limits}}
        return {"metadata": {"name": name}, "spec": {"containers": [container]}}

    pods.create(pod("test-pod", cpu="500m", memory="252Mi", ephemeral_storage="30Gi"))
    eventually(lambda: used(quotas, "test-quota", pods="1", cpu="500m", memory="252Mi"))
    assert used(quotas, "test-quota", **{"requests.example.com/dongle": "2", "ephemeral-storage": "30Gi"})
    assert refusal(lambda: pods.create(pod("big", cpu="600m", memory="1Mi", ephemeral_storage="1"))).code == 403
    unnamed = refusal(lambda: pods.create(pod("none", memory="1Mi", ephemeral_storage="1")))
    assert "must specify cpu" in unnamed.message
    resized = {"spec": {"containers": [{"name": "pause", "resources": {"requests": {"cpu": "1m"}}}]}}
    assert refusal(lambda: pods.patch("test-pod", resized, "application/strategic-merge-patch+json")).code == 422
    pods.delete("test-pod", gracePeriodSeconds=0)
    eventually(lambda: used(quotas, "test-quota", pods="0", cpu="0"))


@pytest.mark.parametrize(
    ("scopes", "fits", "other"),
    [
        (["Terminating"], {"activeDeadlineSeconds": 3600}, {}),
        (["NotTerminating"], {}, {"activeDeadlineSeconds": 3600}),
        (["BestEffort"], {}, {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1m"}}}]}),
        (
            ["NotBestEffort"],
            {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1m"}}}]},
            {},
        ),
    ],
    ids=lambda v: v[0] if isinstance(v, list) else "",
)
def test_should_verify_resourcequota_with_scopes(
    plane: ApiServerProgram, space: str, scopes: list[str], fits: Object, other: Object
) -> None:
    quotas, pods = quota(plane, space, {"pods": "5"}, scopes=scopes), resource(plane, "pods", namespace=space)
    plain = {"containers": [{"name": "c", "image": "i"}]}
    pods.create({"metadata": {"name": "other"}, "spec": plain | other})
    pods.create({"metadata": {"name": "fits"}, "spec": plain | fits})
    eventually(lambda: used(quotas, "test-quota", pods="1"))


def test_should_be_able_to_update_and_delete_resourcequota(plane: ApiServerProgram, space: str) -> None:
    quotas = quota(plane, space, {"cpu": "1", "memory": "500Mi"})
    got = quotas.get("test-quota")
    got["spec"]["hard"] = {"cpu": "2", "memory": "1Gi"}
    assert quotas.update(got)["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}
    quotas.delete("test-quota")
    assert quotas.gone("test-quota")
