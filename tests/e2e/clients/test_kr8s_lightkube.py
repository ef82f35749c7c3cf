"""kr8s, synchronous and not, and lightkube: objects, generic resources, apply, watches, waiting."""

import kr8s
import kr8s.asyncio
import pytest
from kr8s.asyncio.objects import Deployment as AsyncDeployment
from kr8s.objects import ConfigMap, Deployment
from lightkube import ApiError, Client, KubeConfig, codecs
from lightkube.core.client import CascadeType
from lightkube.generic_resource import (
    create_global_resource,
    create_namespaced_resource,
    load_in_cluster_generic_resources,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources import apps_v1, core_v1
from lightkube.types import PatchType

from tests.e2e.clients.conftest import deployment
from tests.e2e.local_cluster import LocalCluster
from tests.waiting import eventually


def test_kr8s(shared: LocalCluster, space: str) -> None:
    api = kr8s.api(kubeconfig=shared.kubeconfig, namespace=space)
    assert len(list(kr8s.get("nodes", api=api))) == 2
    web = Deployment(deployment("web"), namespace=space, api=api)
    web.create()
    web.wait("condition=Available", timeout=20)
    web.scale(2)
    assert (web.replicas, web.exists()) == (2, True)
    eventually(lambda: len(list(web.pods())) == 2)
    web.label({"tier": "front"})
    web.annotate(note="hi")
    assert [d.name for d in api.get("deploy", namespace=space, label_selector={"tier": "front"})] == ["web"]
    settings = ConfigMap({"metadata": {"name": "m"}, "data": {"a": "1"}}, namespace=space, api=api)
    settings.create()
    settings.patch({"data": {"b": "2"}})
    settings.patch([{"op": "remove", "path": "/data/a"}], type="json")
    assert settings.data == {"b": "2"}
    table = api.get("pods", namespace=space, as_object=None)
    assert len(list(table)) == 2
    assert {"apps/v1", "v1"} <= set(api.api_versions())
    assert any(r["name"] == "deployments" for r in api.api_resources())
    web.delete(propagation_policy="Background")
    web.wait("delete", timeout=20)
    with pytest.raises(kr8s.NotFoundError):
        web.refresh()


async def test_kr8s_asyncio(shared: LocalCluster, space: str) -> None:
    api = await kr8s.asyncio.api(kubeconfig=shared.kubeconfig, namespace=space)
    web = await AsyncDeployment(deployment("web"), namespace=space, api=api)
    await web.create()
    async for kind, pod in api.watch("pods", namespace=space):
        assert kind in ("ADDED", "MODIFIED")
        if await pod.ready():
            break
    assert (await api.whoami()) == "kubernetes-admin"
    assert (await api.version())["minor"] == "36"
    quotas = kr8s.asyncio.objects.new_class("ResourceQuota", "v1", namespaced=True)
    quota = await quotas({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5"}}}, namespace=space, api=api)
    await quota.create()
    async for _, seen in api.watch("resourcequotas", namespace=space):
        if seen.status.get("used", {}).get("pods") == "1":
            break


@pytest.fixture
def lightkube(shared: LocalCluster, space: str) -> Client:
    return Client(config=KubeConfig.from_file(shared.kubeconfig).get(), namespace=space, field_manager="test")


def test_lightkube(lightkube: Client, space: str) -> None:
    web = codecs.from_dict(deployment("web"))
    lightkube.create(web)
    lightkube.wait(apps_v1.Deployment, "web", for_conditions=["Available"])
    got = lightkube.get(apps_v1.Deployment, "web")
    got.spec.replicas = 2
    lightkube.replace(got)
    scale = lightkube.get(apps_v1.Deployment.Scale, "web")
    assert scale.spec.replicas == 2
    for change, pod in lightkube.watch(core_v1.Pod, labels={"app": "web"}, server_timeout=20):
        if change == "MODIFIED" and pod.status.phase == "Running":
            break
    lightkube.patch(apps_v1.Deployment, "web", {"metadata": {"labels": {"x": "y"}}}, patch_type=PatchType.MERGE)
    assert [d.metadata.name for d in lightkube.list(apps_v1.Deployment, labels={"x": "y"}, chunk_size=1)] == ["web"]
    lightkube.delete(apps_v1.Deployment, "web", cascade=CascadeType.FOREGROUND)
    lightkube.deletecollection(core_v1.ConfigMap, namespace=space)


def test_lightkube_applies(lightkube: Client, space: str) -> None:
    meta = ObjectMeta(name="m", namespace=space)
    lightkube.apply(core_v1.ConfigMap(metadata=meta, apiVersion="v1", kind="ConfigMap", data={"a": "1"}))
    other = core_v1.ConfigMap(metadata=meta, apiVersion="v1", kind="ConfigMap", data={"a": "2"})
    with pytest.raises(ApiError, match="conflict"):
        lightkube.apply(other, field_manager="other")
    assert lightkube.apply(other, field_manager="other", force=True).data == {"a": "2"}
    claims = create_namespaced_resource("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims")
    request = {"name": "r", "exactly": {"deviceClassName": "gpu"}}
    made = lightkube.create(claims(metadata={"name": "c"}, spec={"devices": {"requests": [request]}}))
    assert made.spec["devices"]["requests"][0]["exactly"]["allocationMode"] == "ExactCount"
    classes = create_global_resource("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses")
    assert {p.metadata.name for p in lightkube.list(classes)} >= {"system-node-critical"}
    load_in_cluster_generic_resources(lightkube)
