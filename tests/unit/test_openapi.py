"""OpenAPI documents: what kubectl looks up in them, custom kinds, and where they are kept."""

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

WIDGET = Kind("example.com", "v1", "Widget", "widgets")
SCHEMA = {"type": "object", "description": "A widget.", "properties": {"spec": {"type": "object"}}}


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(STRATEGIES)


@pytest.fixture
def client(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    app = FastAPI()
    app.include_router(router(OpenApi(catalog, lambda kind: SCHEMA if kind == WIDGET else None)))
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


def test_version_2_is_json_only(client: TestClient) -> None:
    protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    assert client.get("/openapi/v2", headers={"accept": protobuf}).json()["reason"] == "NotAcceptable"
    assert client.get("/openapi/v2", headers={"accept": f"{protobuf},application/json"}).status_code == 200


def test_custom_kinds_come_and_go(client: TestClient, catalog: Catalog) -> None:
    before = client.get("/openapi/v2").headers["etag"]
    catalog.add(Strategy(WIDGET))
    made = document(client, "v3/apis/example.com/v1")
    assert made["components"]["schemas"]["com.example.v1.Widget"]["description"] == "A widget."
    assert "com.example.v1.Widget" in document(client, "v2")["definitions"]
    catalog.remove(WIDGET)
    assert client.get("/openapi/v3/apis/example.com/v1").status_code == 404
    assert client.get("/openapi/v2").headers["etag"] == before


def test_without_a_cache_directory(client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert "io.k8s.api.core.v1.Pod" in document(client, "v3/api/v1")["components"]["schemas"]
