"""What is secret never comes into the audit log nor into the server's own, by whatever route it is written or asked."""

import base64
import secrets
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apimachinery import scheme
from apimachinery.client.api import ApiClient, Write
from apimachinery.config import load_kubeconfig
from tests.control_plane import ROOT, ApiServerProgram, Etcd
from tests.unit.test_protobuf import body as protobuf_body
from tests.unit.test_protobuf import field, pairs
from tests.waiting import eventually

NAMESPACE = "/api/v1/namespaces/default"
HUSH = "hush-" + secrets.token_hex(12)
ENCODED = base64.b64encode(HUSH.encode()).decode()
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
APPLY, JSON_PATCH = "application/apply-patch+yaml", "application/json-patch+json"


@pytest.fixture(scope="module")
def server(etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProgram]:
    directory = tmp_path_factory.mktemp("audited")
    flags = (f"--audit-policy-file={ROOT / 'deploy/audit-policy.yaml'}", f"--audit-log-path={directory / 'audit.log'}")
    with ApiServerProgram(directory, etcd.url, (*flags, f"--etcd-prefix=/{uuid.uuid4()}", "--v=6")) as running:
        yield running


def logs(server: ApiServerProgram, mark: str) -> str:
    """Both logs, once what was asked with ``mark`` is in the audit log."""
    audit = Path(server.directory, "audit.log")
    eventually(lambda: mark in audit.read_text())
    return audit.read_text() + server.program.log.read_text()


def assert_unseen(server: ApiServerProgram, *values: str) -> None:
    mark = uuid.uuid4().hex
    server.request("POST", f"{NAMESPACE}/serviceaccounts", {"metadata": {"name": f"mark-{mark}"}})
    text = logs(server, mark)
    for value in values:
        at = text.find(value)
        assert at < 0, text[max(0, at - 600) : at + 200]


@pytest.mark.parametrize(("resource", "part"), [("secrets", "stringData"), ("secrets", "data"), ("configmaps", "data")])
def test_bodies_of_secrets_and_maps(server: ApiServerProgram, resource: str, part: str) -> None:
    value = ENCODED if part == "data" and resource == "secrets" else HUSH
    path, name = f"{NAMESPACE}/{resource}", f"{part.lower()}-{resource}"
    body = {"metadata": {"name": name}, part: {"k": value}}
    kind = {"apiVersion": "v1", "kind": "Secret" if resource == "secrets" else "ConfigMap"}
    last = {"kubectl.kubernetes.io/last-applied-configuration": f'{{"{part}":{{"k":"{value}"}}}}'}

    def patch(content: str, change: Any, query: str = "") -> int:
        return server.request("PATCH", f"{path}/{name}{query}", change, headers={"Content-Type": content}).code

    assert server.request("POST", path, body).code == 201
    assert server.request("PUT", f"{path}/{name}", body | {"metadata": {"name": name, "annotations": last}}).code == 200
    assert patch(MERGE, {part: {"l": value}}) == patch(STRATEGIC, {part: {"m": value}}) == 200
    assert patch(APPLY, kind | body, "?fieldManager=x&force=true") == 200
    if part == "data":
        assert patch(JSON_PATCH, [{"op": "test", "path": "/data/k", "value": value}]) == 200
    assert server.request("GET", path).code == server.request("GET", f"{path}?watch=1&timeoutSeconds=1").code == 200
    assert server.request("DELETE", f"{path}/{name}").code == 200
    server.kubectl("create", resource.rstrip("s"), *(["generic"] if resource == "secrets" else []), f"k-{name}",
                   f"--from-literal=a={HUSH}", "-v=0")  # fmt: skip
    assert server.request("DELETE", path).code == 200
    assert_unseen(server, HUSH, ENCODED)


def test_a_protobuf_body(server: ApiServerProgram) -> None:
    raw = field(1, field(1, "packed") + field(3, "default")) + pairs(2, {"k": HUSH}) + field(3, "Opaque")
    sent = {"Content-Type": "application/vnd.kubernetes.protobuf"}
    reply = server.request("POST", f"{NAMESPACE}/secrets", protobuf_body("v1", "Secret", raw), headers=sent)
    assert (reply.code, reply.json["data"]) == (201, {"k": ENCODED})
    assert_unseen(server, HUSH, ENCODED)


def test_what_is_refused_is_not_quoted(server: ApiServerProgram) -> None:
    """Neither a value that does not fit nor a document that cannot be read."""
    path = f"{NAMESPACE}/secrets"
    made = {"metadata": {"name": "firm"}, "data": {"k": ENCODED}, "immutable": True}
    assert server.request("POST", path, made).code == 201
    secret, other = {"apiVersion": "v1", "kind": "Secret"}, base64.b64encode(f"{HUSH}-".encode()).decode()
    wrong: list[tuple[str, str, Any, str]] = [
        ("POST", path, {"metadata": {"name": "x"}, "data": {"k": HUSH + "!"}}, "application/json"),
        ("POST", path, {"metadata": {"name": "x"}, "data": HUSH}, "application/json"),
        ("POST", path, {"metadata": {"name": "x"}, "data": [HUSH]}, "application/json"),
        ("POST", path, b'{"data":{"k":"' + HUSH.encode() + b'"', "application/json"),
        ("POST", path, b"data: {k: " + HUSH.encode() + b"\n : [", "application/yaml"),
        ("POST", path, b"data: !!int " + HUSH.encode(), "application/yaml"),
        ("POST", path, b"k8s\0" + HUSH.encode(), "application/vnd.kubernetes.protobuf"),
        ("PUT", f"{path}/firm", made | {"data": {"k": other}}, "application/json"),
        ("PATCH", f"{path}/firm", [{"op": "test", "path": "/data/k", "value": HUSH}], JSON_PATCH),
        ("PATCH", f"{path}/firm", [{"op": "add", "path": "/data/k/l", "value": HUSH}], JSON_PATCH),
        ("PATCH", f"{path}/firm", {"data": {"k": other}}, MERGE),
        ("PATCH", f"{path}/firm", {"data": HUSH}, STRATEGIC),
        ("PATCH", f"{path}/firm?fieldManager=y&force=true", made | secret | {"data": {"k": HUSH + "!"}}, APPLY),
        ("PATCH", f"{path}/firm?fieldManager=y", made | secret | {"data": {"k": other}}, APPLY),
    ]  # fmt: skip
    for method, target, body, media in wrong:
        reply = server.request(method, target, body, headers={"Content-Type": media})
        assert 400 <= reply.code < 500, (method, body, reply.text)
    assert server.request("GET", f"{path}/firm").json["data"] == {"k": ENCODED}
    assert_unseen(server, HUSH, ENCODED, other)


def test_tokens(server: ApiServerProgram) -> None:
    server.request("POST", f"{NAMESPACE}/serviceaccounts", {"metadata": {"name": "robot"}})
    asked = server.request("POST", f"{NAMESPACE}/serviceaccounts/robot/token", {"spec": {}})
    token = asked.json["status"]["token"]
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    reviews = "/apis/authentication.k8s.io/v1/tokenreviews"
    assert server.request("POST", reviews, review).json["status"]["authenticated"]
    for forged in (f"{token}x", HUSH):
        assert not server.request("POST", reviews, review | {"spec": {"token": forged}}).json["status"].get("user")
        assert server.request("GET", f"{NAMESPACE}/pods", token=forged).code == 401
    assert server.request("GET", f"{NAMESPACE}/pods", token=token).code == 403
    told = server.kubectl("create", "token", "robot").strip()
    assert_unseen(server, HUSH, token[-60:], told[-60:])


async def test_the_inside_api(server: ApiServerProgram) -> None:
    client = await ApiClient.connect(load_kubeconfig(server.kubeconfig), user_agent="inside-test")
    secret = {"metadata": {"name": "inside", "namespace": "default"}, "stringData": {"k": HUSH}}
    bad = {"metadata": {"name": "bad", "namespace": "default"}, "data": {"k": HUSH + "!"}}
    try:
        await client.write([Write.create(scheme.SECRETS, s) for s in (secret, bad)])
        await client.patch(scheme.SECRETS, "inside", "default", {"stringData": {"l": HUSH}})
        assert (await client.get(scheme.SECRETS, "inside", "default"))["data"] == {"k": ENCODED, "l": ENCODED}
        await client.create(scheme.SERVICE_ACCOUNTS, {"metadata": {"name": "in", "namespace": "default"}})
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        made = await client.create(scheme.SERVICE_ACCOUNTS, asked, namespace="default", name="in", subresource="token")
    finally:
        await client.close()
    assert_unseen(server, HUSH, ENCODED, made["status"]["token"][-60:])
