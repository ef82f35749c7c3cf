"""What can be read and is not stored, what kinds do not do, and what the server says of itself."""

import re
from collections.abc import AsyncIterator

import pytest

from apimachinery import errors, scheme
from apimachinery.client.api import ApiClient
from apimachinery.config import load_kubeconfig
from tests.control_plane import ApiServerProgram

STATUSES = "/api/v1/componentstatuses"


@pytest.fixture
async def client(apiserver: ApiServerProgram) -> AsyncIterator[ApiClient]:
    connected = await ApiClient.connect(load_kubeconfig(apiserver.kubeconfig), user_agent="unstored-test")
    yield connected
    await connected.close()


def test_component_statuses(apiserver: ApiServerProgram) -> None:
    """Nothing but etcd is there beside this server."""
    listed = apiserver.request("GET", STATUSES)
    assert "v1 ComponentStatus is deprecated in v1.19+" in str(
        {k.lower(): v for k, v in listed.headers.items()}["warning"]
    )
    assert (listed.json["kind"], listed.json["metadata"]) == ("ComponentStatusList", {})
    rows = apiserver.kubectl("get", "cs", "--no-headers").splitlines()
    assert {row.split()[0]: row.split()[1] for row in rows} == {
        "controller-manager": "Unhealthy",
        "etcd-0": "Healthy",
        "scheduler": "Unhealthy",
    }
    assert "Healthy" in apiserver.kubectl("get", "cs", "etcd-0")
    assert apiserver.request("GET", f"{STATUSES}/etcd-9").code == 404
    only = apiserver.request("GET", f"{STATUSES}?fieldSelector=metadata.name%3Detcd-0").json["items"]
    assert [i["conditions"] for i in only] == [[{"type": "Healthy", "status": "True", "message": "ok"}]]
    assert "VERSION" in apiserver.kubectl("explain", "componentstatus")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{STATUSES}?watch=1"),
        ("POST", STATUSES),
        ("DELETE", STATUSES),
        ("PUT", f"{STATUSES}/etcd-0"),
        ("PATCH", f"{STATUSES}/etcd-0"),
        ("DELETE", f"{STATUSES}/etcd-0"),
        ("POST", "/apis/metrics.k8s.io/v1beta1/nodes"),
        ("GET", "/apis/authentication.k8s.io/v1/tokenreviews"),
    ],
)
def test_verbs_that_a_kind_does_not_have(apiserver: ApiServerProgram, method: str, path: str) -> None:
    body = None if method in ("GET", "DELETE") else {"apiVersion": "v1", "kind": "ComponentStatus"}
    assert apiserver.request(method, path, body).code == 405


async def test_verbs_that_a_kind_does_not_have_inside(client: ApiClient) -> None:
    statuses, reviews = scheme.kind_of("componentstatuses"), scheme.kind_of("tokenreviews", "authentication.k8s.io")
    named = {"metadata": {"name": "x", "namespace": "default"}}
    for refused in (
        client.create(statuses, {"metadata": {"name": "x"}}),
        client.delete(statuses, "etcd-0"),
        client.delete(reviews, "x"),
        client.get(reviews, "x"),
        client.list(reviews),
        client.update(scheme.PODS, named, subresource="binding"),
        client.patch(scheme.SERVICE_ACCOUNTS, "default", "default", {}, subresource="token"),
        client.create(scheme.PODS, named, namespace="default", name="x", subresource="status"),
    ):
        with pytest.raises(errors.MethodNotAllowed):
            await refused
    assert "etcd-0" in [s["metadata"]["name"] for s in (await client.list(statuses)).items]


def test_the_version_tells_a_commit(apiserver: ApiServerProgram) -> None:
    told = apiserver.request("GET", "/version").json
    assert re.fullmatch("[0-9a-f]{40}", told["gitCommit"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["buildDate"])


def test_health_is_told_whatever_the_method(apiserver: ApiServerProgram) -> None:
    """As upstream, whose handlers do not look at it."""
    assert apiserver.request("POST", "/healthz", {}).code == 200


def test_discovery_is_upstreams(apiserver: ApiServerProgram) -> None:
    """Orders and hashes as in Kubernetes' own ``api/discovery``."""
    groups = [g["name"] for g in apiserver.request("GET", "/apis").json["groups"]]
    first = ["apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io"]
    assert groups[:5] == first and groups.index("storage.k8s.io") < groups.index("admissionregistration.k8s.io")

    def hashes(path: str) -> dict[str, str | None]:
        return {r["name"]: r.get("storageVersionHash") for r in apiserver.request("GET", path).json["resources"]}

    core = hashes("/api/v1")
    assert (core["configmaps"], core["pods"]) == ("qFsyl6wFWjQ=", "xPOwRZ+Yhw8=")
    assert core["pods/status"] is core["componentstatuses"] is core["bindings"] is None
    assert list(core).index("replicationcontrollers/scale") < list(core).index("replicationcontrollers/status")
    assert hashes("/apis/events.k8s.io/v1")["events"] == core["events"] == "r2yiGXH7wu8="
    assert hashes("/apis/autoscaling/v1")["horizontalpodautoscalers"] == "qwQve8ut294="
