"""OpenAPI documents: what kubectl looks up in them, custom kinds, and where they are kept."""

from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from apimachinery.scheme import Kind
from master.apiserver.registry.catalog import Catalog
from master.apiserver.registry.kinds import STRATEGIES
from master.apiserver.registry.strategy import Strategy
from master.apiserver.rest.openapi import OpenApi, router
from master.apiserver.rest.openapi.gnostic import encode_document

WIDGET = Kind("example.com", "v1", "Widget", "widgets")
SCHEMA = {"type": "object", "description": "A widget.", "properties": {"spec": {"type": "object"}}}


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(STRATEGIES)


@pytest.fixture
def client(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    app = FastAPI()
    app.include_router(router(OpenApi(catalog)))
    return TestClient(app)


def document(client: TestClient, path: str) -> Any:
    return orjson.loads(client.get(f"/openapi/{path}").content)


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(v) for v in value.values()))
    return set().union(*(references(v) for v in value)) if isinstance(value, list) else set()


def test_every_reference_is_there(client: TestClient) -> None:
    index = document(client, "v3")["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/batch/v1"} <= set(index)
    for name in index:
        made = document(client, f"v3/{name}")
        known = {f"#/components/schemas/{n}" for n in made["components"]["schemas"]}
        assert references(made) <= known, name
    two = document(client, "v2")
    assert references(two) <= {f"#/definitions/{n}" for n in two["definitions"]}


def test_what_kubectl_asks_for(client: TestClient) -> None:
    made = document(client, "v3/apis/apps/v1")
    item = made["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    assert item["patch"]["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert {"dryRun", "fieldValidation", "fieldManager", "force"} == {p["name"] for p in item["patch"]["parameters"]}
    assert "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale" in made["paths"]
    spec = made["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]
    assert spec["containers"]["x-kubernetes-patch-merge-key"] == "name"
    assert spec["nodeName"]["type"] == "string"
    assert spec["affinity"]["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.Affinity"}]


def test_unchanged_documents_are_not_sent_again(client: TestClient) -> None:
    url = document(client, "v3")["paths"]["api/v1"]["serverRelativeURL"]
    first = client.get(url)
    assert "immutable" in first.headers["cache-control"]
    assert client.get(url, headers={"if-none-match": first.headers["etag"]}).status_code == 304
    moved = client.get("/openapi/v3/api/v1?hash=OLD", follow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (301, url)
    assert client.get("/openapi/v3/apis/no.such/v1").status_code == 404


PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
GIVEN = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        (PROTOBUF, GIVEN),
        (GIVEN, GIVEN),
        (f"{PROTOBUF};q=0.5, application/json", "application/json"),
        (f"text/html, {PROTOBUF}", GIVEN),
    ],
)
def test_version_2_comes_as_asked(client: TestClient, accept: str, given: str) -> None:
    answer = client.get("/openapi/v2", headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, given)
    again = client.get("/openapi/v2", headers={"accept": accept, "if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(("path", "accept"), [("v2", "text/html"), ("v3/api/v1", PROTOBUF)])
def test_other_forms_are_refused_by_name(client: TestClient, path: str, accept: str) -> None:
    answer = client.get(f"/openapi/{path}", headers={"accept": accept})
    assert (answer.status_code, answer.json()["reason"]) == (406, "NotAcceptable")
    assert "application/json" in answer.json()["message"]


Message = dict[int, list[Any]]


def decoded(data: bytes) -> Message:
    """A decoder of this test's own: field number to what is there."""
    found: Message = {}
    stream = iter(data)

    def number() -> int:
        value = shift = 0
        for byte in stream:
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
        return -1

    while (tag := number()) >= 0:
        assert tag & 7 in (0, 2)
        content: int | bytes = number()
        if tag & 7 == 2:
            content = bytes(islice(stream, content))
        found.setdefault(tag >> 3, []).append(content)
    return found


def named(data: bytes, number: int) -> dict[str, Message]:
    pairs = [decoded(pair) for pair in decoded(data)[number]]
    return {pair[1][0].decode(): decoded(pair[2][0]) for pair in pairs}


def extensions(message: Message, number: int) -> dict[str, Any]:
    pairs = [decoded(pair) for pair in message[number]]
    return {pair[1][0].decode(): orjson.loads(decoded(pair[2][0])[2][0]) for pair in pairs}


def test_version_2_as_protobuf_says_what_the_json_says(client: TestClient) -> None:
    made = document(client, "v2")
    binary = decoded(client.get("/openapi/v2", headers={"accept": PROTOBUF}).content)
    assert binary[1] == [b"2.0"]
    schemas = named(binary[9][0], 1)
    assert list(schemas) == list(made["definitions"])
    name = "io.k8s.api.core.v1.Pod"
    properties = named(schemas[name][25][0], 1)
    assert properties["spec"][1] == [b"#/definitions/io.k8s.api.core.v1.PodSpec"]
    assert decoded(properties["kind"][22][0]) == {1: [b"string"]}
    gvk = "x-kubernetes-group-version-kind"
    assert extensions(schemas[name], 31) == {gvk: made["definitions"][name][gvk]}
    paths = named(binary[8][0], 2)
    assert list(paths) == list(made["paths"])
    patch = decoded(paths["/api/v1/namespaces/{namespace}/pods/{name}"][8][0])
    assert b"application/strategic-merge-patch+json" in patch[7]
    queries = [decoded(decoded(decoded(decoded(p)[1][0])[2][0])[3][0])[4] for p in patch[8][:-1]]
    assert queries == [[b"dryRun"], [b"fieldManager"], [b"fieldValidation"], [b"force"]]


def test_a_member_without_a_field_is_an_error() -> None:
    with pytest.raises(ValueError, match="'oneOf' has no field"):
        encode_document({"definitions": {"A": {"oneOf": []}}})


def test_custom_kinds_come_and_go(client: TestClient, catalog: Catalog) -> None:
    before = client.get("/openapi/v2").headers["etag"]
    strategy = Strategy(WIDGET)
    strategy.open_api = SCHEMA
    catalog.add(strategy)
    made = document(client, "v3/apis/example.com/v1")
    assert made["components"]["schemas"]["com.example.v1.Widget"]["description"] == "A widget."
    assert "com.example.v1.Widget" in document(client, "v2")["definitions"]
    assert b"com.example.v1.Widget" in client.get("/openapi/v2", headers={"accept": PROTOBUF}).content
    catalog.remove(WIDGET)
    assert client.get("/openapi/v3/apis/example.com/v1").status_code == 404
    assert client.get("/openapi/v2").headers["etag"] == before


def test_computed_kinds_cost_no_memory(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    catalog.add(Strategy(WIDGET))
    app = FastAPI()
    app.include_router(router(OpenApi(catalog, computed=[WIDGET])))
    client = TestClient(app)
    assert "com.example.v1.Widget" in document(client, "v3/apis/example.com/v1")["components"]["schemas"]
    assert b"com.example.v1.Widget" in client.get("/openapi/v2", headers={"accept": PROTOBUF}).content
    written = {p.name for p in tmp_path.rglob("documents-*/*")}
    assert {"index.json", "v2.json", "v2.pb", "apis_example.com_v1.json"} <= written


def test_without_a_cache_directory(client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert "io.k8s.api.core.v1.Pod" in document(client, "v3/api/v1")["components"]["schemas"]
    assert b"io.k8s.api.core.v1.Pod" in client.get("/openapi/v2", headers={"accept": PROTOBUF}).content
