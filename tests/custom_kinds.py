"""Definitions of custom kinds, and a conversion webhook, for tests."""

import base64
import itertools
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from apimachinery import pki
from tests.control_plane import ApiServerProgram
from tests.waiting import eventually

Object = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ANYTHING: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_numbers = itertools.count(1)


def version(name: str, schema: Object | None = None, *, storage: bool = False, **more: Any) -> Object:
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": ANYTHING if schema is None else schema},
        **more,
    }


def definition(*versions: Object, plural: str = "", scope: str = "Namespaced", **spec: Any) -> Object:
    """A definition of a kind that nobody else has. The first version is stored if none says that it is."""
    if not any(v["storage"] for v in versions):
        versions[0]["storage"] = True
    plural = plural or f"things{next(_numbers)}"
    names = {"plural": plural, "kind": plural.capitalize(), "listKind": f"{plural.capitalize()}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.test.example.com"},
        "spec": {"group": "test.example.com", "scope": scope, "names": names, "versions": list(versions), **spec},
    }


class Custom:
    """A definition in a server, and its objects."""

    def __init__(self, server: ApiServerProgram, wanted: Object, namespace: str = "") -> None:
        self.server, self.namespace = server, namespace
        self.name: str = wanted["metadata"]["name"]
        self.kind: str = wanted["spec"]["names"]["kind"]
        self.plural: str = wanted["spec"]["names"]["plural"]
        self.created = self.ok("POST", CRDS, wanted)
        eventually(lambda: self.is_true("Established"))
        for served in wanted["spec"]["versions"]:
            eventually(lambda v=served["name"]: self.server.request("GET", self.path(v)).code == 200)

    def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        reply = self.server.request(method, path, body, headers={k.replace("_", "-"): v for k, v in headers.items()})
        assert reply.code in (200, 201), reply.text
        return reply.json

    def get(self) -> Any:
        return self.ok("GET", f"{CRDS}/{self.name}")

    def condition(self, type_: str) -> Any:
        return next((c for c in self.get()["status"]["conditions"] or () if c["type"] == type_), None)

    def is_true(self, type_: str) -> bool:
        condition = self.condition(type_)
        return bool(condition) and condition["status"] == "True"

    def patch(self, operations: list[Object]) -> Any:
        return self.ok("PATCH", f"{CRDS}/{self.name}", operations, Content_Type="application/json-patch+json")

    def path(self, version: str = "v1", name: str = "", subresource: str = "") -> str:
        scope = f"/namespaces/{self.namespace}" if self.namespace else ""
        parts = [f"/apis/test.example.com/{version}{scope}", self.plural, name, subresource]
        return "/".join(p for p in parts if p)

    def obj(self, name: str, version: str = "v1", **content: Any) -> Object:
        metadata: Object = {"name": name}
        return {"apiVersion": f"test.example.com/{version}", "kind": self.kind, "metadata": metadata, **content}

    def create(self, name: str, version: str = "v1", **content: Any) -> Any:
        return self.ok("POST", self.path(version), self.obj(name, version, **content))

    def delete(self) -> None:
        self.ok("DELETE", f"{CRDS}/{self.name}")
        eventually(lambda: self.server.request("GET", f"{CRDS}/{self.name}").code == 404)


class Converter:
    """A conversion webhook: ``hostPort`` of v1 is ``host`` and ``port`` of v2. ``broken`` makes it refuse."""

    def __init__(self, directory: Path) -> None:
        ca = pki.ensure_ca(directory / "converter")
        pair = ca.ensure_server(directory / "converter" / "server", "converter", dns=["localhost"], ips=["127.0.0.1"])
        self.ca = base64.b64encode(ca.pem).decode()
        self.asked: list[int] = []
        self.broken = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                data = json.dumps(outer.answer(review)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate_path, pair.key_path)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def conversion(self) -> Object:
        config = {"url": f"https://127.0.0.1:{self.server.server_port}/crdconvert", "caBundle": self.ca}
        return {"strategy": "Webhook", "webhook": {"clientConfig": config, "conversionReviewVersions": ["v1"]}}

    def answer(self, review: Object) -> Object:
        request = review["request"]
        self.asked.append(len(request["objects"]))
        result: Object = {"status": "Success"}
        if self.broken:
            result = {"status": "Failure", "message": self.broken}
        converted = [convert(o, request["desiredAPIVersion"]) for o in request["objects"]]
        response = {"uid": request["uid"], "result": result, "convertedObjects": converted}
        return {"kind": "ConversionReview", "apiVersion": review["apiVersion"], "response": response}

    def stop(self) -> None:
        self.server.shutdown()


def convert(obj: Object, wanted: str) -> Object:
    made = {**obj, "apiVersion": wanted}
    if wanted.endswith("/v2") and "hostPort" in made:
        made["host"], _, made["port"] = made.pop("hostPort").partition(":")
    elif wanted.endswith("/v1") and "host" in made:
        made["hostPort"] = f"{made.pop('host')}:{made.pop('port', '')}"
    return made
