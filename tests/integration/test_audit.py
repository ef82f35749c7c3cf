"""The audit log of a real API server, as kubectl's, curl's and the inside API's requests leave it."""

import gzip
import json
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apimachinery import scheme
from apimachinery.client.api import ApiClient
from apimachinery.config import load_kubeconfig
from tests.control_plane import ADMIN_TOKEN, ROOT, ApiServerProgram, Etcd
from tests.waiting import eventually

Object = dict[str, Any]
Find = Callable[..., Object]


@pytest.fixture(scope="module")
def server(etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("audited")
    flags = (
        "--audit-policy-file",
        str(ROOT / "deploy/audit-policy.yaml"),
        "--audit-log-path",
        str(directory / "audit.log"),
    )
    flags += ("--etcd-prefix", f"/{uuid.uuid4()}")
    with ApiServerProgram(directory, etcd.url, flags) as running:
        yield running


@pytest.fixture
def find(server: ApiServerProgram) -> Find:
    def search(**wanted: Any) -> Object:
        def look() -> Object | None:
            lines = Path(server.directory, "audit.log").read_text().splitlines()
            for event in map(json.loads, lines):
                flat = {**event, **event.get("objectRef", {})}
                if all(flat.get(key) == value for key, value in wanted.items()):
                    return event  # type: ignore[no-any-return]
            return None

        return eventually(look)  # type: ignore[no-any-return]

    return search


def test_what_kubectl_does_is_told(server: ApiServerProgram, find: Find) -> None:
    server.kubectl("create", "configmap", "plain", "--from-literal=password=hush")
    server.kubectl("create", "serviceaccount", "robot")
    secret = find(verb="create", resource="configmaps", name="plain")
    assert (secret["level"], secret["user"]["username"]) == ("Metadata", "kubernetes-admin")
    assert "hush" not in Path(server.directory, "audit.log").read_text()
    account = find(verb="create", resource="serviceaccounts", name="robot")
    assert account["requestObject"]["metadata"]["name"] == "robot"
    assert account["responseObject"]["metadata"]["uid"]
    assert "managedFields" not in account["responseObject"]["metadata"]
    assert account["userAgent"].startswith("kubectl/")
    assert account["sourceIPs"] == ["127.0.0.1"]
    assert account["responseStatus"]["code"] == 201


def test_refusals_and_impersonation_are_told(server: ApiServerProgram, find: Find) -> None:
    reply = server.request("DELETE", "/api/v1/namespaces/default/pods/x", headers={"Impersonate-User": "mallory"})
    assert reply.code == 403
    event = find(verb="delete", resource="pods", name="x")
    assert event["auditID"] == reply.headers["audit-id"]
    assert (event["user"]["username"], event["impersonatedUser"]["username"]) == ("admin", "mallory")
    assert event["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert event["responseStatus"]["reason"] == "Forbidden"


def test_pod_security_violations_are_noted(server: ApiServerProgram, find: Find) -> None:
    labels = {"pod-security.kubernetes.io/audit": "baseline"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "watched", "labels": labels}}
    assert server.request("POST", "/api/v1/namespaces", body).code == 201
    server.request("POST", "/api/v1/namespaces/watched/serviceaccounts", {"metadata": {"name": "default"}})
    spec = {"hostNetwork": True, "containers": [{"name": "c", "image": "i"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "host"}, "spec": spec}
    assert server.request("POST", "/api/v1/namespaces/watched/pods", pod).code == 201
    event = find(verb="create", resource="pods", name="host")
    assert "host namespaces" in event["annotations"]["pod-security.kubernetes.io/audit-violations"]


async def test_writes_of_the_inside_api_are_told(server: ApiServerProgram, find: Find) -> None:
    client = await ApiClient.connect(load_kubeconfig(server.kubeconfig), user_agent="inside-test")
    try:
        await client.create(scheme.SERVICE_ACCOUNTS, {"metadata": {"name": "inside", "namespace": "default"}})
    finally:
        await client.close()
    event = find(verb="create", resource="serviceaccounts", name="inside")
    assert event["requestURI"] == "/api/v1/namespaces/default/serviceaccounts"
    assert event["user"]["username"] == "kubernetes-admin"
    assert event["requestObject"]["metadata"]["name"] == "inside"


def test_a_watch_is_told_when_it_begins(server: ApiServerProgram, find: Find) -> None:
    server.kubectl("get", "serviceaccounts", "--watch", "--request-timeout=1s")
    assert find(verb="watch", resource="serviceaccounts", stage="ResponseStarted")["responseStatus"]["code"] == 200


def test_a_long_answer_is_zipped_for_who_reads_that(server: ApiServerProgram) -> None:
    data = {"text": "hello world " * 20_000}
    for number in range(4):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"long-{number}"}, "data": data}
        assert server.request("POST", "/api/v1/namespaces/default/configmaps", body).code == 201
    for path in ("configmaps", "configmaps/long-0"):
        command = ["curl", "-s", "--cacert", server.ca_file, "-H", f"Authorization: Bearer {ADMIN_TOKEN}"]
        url = f"{server.url}/api/v1/namespaces/default/{path}"
        plain = subprocess.run([*command, url], capture_output=True, check=True).stdout
        raw = subprocess.run([*command, "-H", "Accept-Encoding: gzip", url], capture_output=True, check=True).stdout
        assert len(raw) < len(plain) / 10
        assert gzip.decompress(raw) == plain
