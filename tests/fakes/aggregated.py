"""An aggregated API server: a thread of the test process that serves ``wardle.example.com/v1alpha1`` over TLS.

It keeps flunders in memory, believes the identity headers of whoever has a certificate of the front-proxy CA, and asks
the cluster what that user may do, as upstream's sample API server does.
"""

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from apimachinery import pki

Object = dict[str, Any]
GROUP, VERSION = "wardle.example.com", "v1alpha1"
ROOT = f"/apis/{GROUP}/{VERSION}"
RESOURCES = [
    {
        "name": "flunders",
        "singularName": "flunder",
        "namespaced": True,
        "kind": "Flunder",
        "verbs": ["create", "delete", "get", "list", "watch"],
        "shortNames": ["fl"],
    },
    {"name": "flunders/status", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get"]},
]
_KIND = {"group": GROUP, "version": VERSION, "kind": "Flunder"}
_DEFINITION = f"com.example.{GROUP}.{VERSION}.Flunder"
OPENAPI = {
    "swagger": "2.0",
    "info": {"title": "wardle", "version": "v1"},
    "paths": {
        f"{ROOT}/namespaces/{{namespace}}/flunders": {
            "get": {
                "parameters": [{"$ref": "#/parameters/limit"}],
                "produces": ["application/json", "application/yaml"],
                "responses": {"200": {"description": "OK", "schema": {"$ref": f"#/definitions/{_DEFINITION}"}}},
                "x-kubernetes-action": "list",
                "x-kubernetes-group-version-kind": _KIND,
            }
        }
    },
    "parameters": {"limit": {"name": "limit", "in": "query", "type": "integer", "uniqueItems": True}},
    "definitions": {
        _DEFINITION: {
            "description": "Flunder is made for tests.",
            "type": "object",
            "properties": {"spec": {"description": "What it should be.", "type": "string"}},
            "x-kubernetes-group-version-kind": [_KIND],
        }
    },
}
MayDo = Callable[[Object], bool]
"""Answers a SubjectAccessReview's spec."""


class AggregatedServer:
    """``requests`` are (method, path with query, headers) of all that came in with a believed identity."""

    def __init__(self, directory: Path, front_proxy_ca: Path, may_do: MayDo = lambda spec: True) -> None:
        self.ca = pki.ensure_ca(directory, "wardle-ca", "wardle")
        pair = self.ca.ensure_server(directory / "wardle", "wardle", dns=["api.wardle.svc"])
        self.flunders: dict[str, Object] = {}
        self.changed = threading.Condition()
        self.may_do = may_do
        self.requests: list[tuple[str, str, list[tuple[str, str]]]] = []
        self._server = ThreadingHTTPServer(("0.0.0.0", 0), self._handler())
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate_path, pair.key_path)
        context.load_verify_locations(front_proxy_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(_Handler):
            aggregated = server

        return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    aggregated: AggregatedServer

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        if path in ("/openapi/v2", ROOT):
            kinds = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}"}
            self._answer(200, OPENAPI if path != ROOT else kinds | {"resources": RESOURCES})
        elif path.startswith("/openapi"):
            self._answer(404, {})
        elif not self._is_believed(path):
            self._answer(401, status(401, "Unauthorized"))
        elif not self.aggregated.may_do(self._review(path)):
            self._answer(403, status(403, "Forbidden"))
        elif self.headers.get("Upgrade") == "echo":
            self._echo()
        elif "watch=true" in query:
            self._watch()
        else:
            self._answer(*self._resource(path, body))

    def _is_believed(self, path: str) -> bool:
        certificate: Any = self.connection.getpeercert()  # type: ignore[attr-defined]
        self.aggregated.requests.append((self.command, self.path, self.headers.items()))
        return bool(certificate) and "X-Remote-User" in self.headers

    def _review(self, path: str) -> Object:
        parts = path.removeprefix(ROOT).split("/")
        verb = {"GET": "get", "POST": "create", "DELETE": "delete", "PATCH": "patch"}[self.command]
        attributes = {"group": GROUP, "version": VERSION, "namespace": parts[2], "resource": parts[3], "verb": verb}
        user = {"user": self.headers["X-Remote-User"], "groups": self.headers.get_all("X-Remote-Group") or []}
        return {**user, "resourceAttributes": attributes}

    def _resource(self, path: str, body: bytes) -> tuple[int, Object]:
        flunders, name = self.aggregated.flunders, path.rpartition("/")[2]
        if self.command == "POST":
            obj = json.loads(body)
            with self.aggregated.changed:
                flunders[obj["metadata"]["name"]] = obj
                self.aggregated.changed.notify_all()
            return 201, obj
        if name == "flunders":
            head = {"kind": "FlunderList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {"resourceVersion": "1"}}
            return 200, {**head, "items": list(flunders.values())}
        if name not in flunders:
            return 404, status(404, f'flunders.{GROUP} "{name}" not found')
        return 200, flunders.pop(name) if self.command == "DELETE" else flunders[name]

    def _watch(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent: set[str] = set()
        with self.aggregated.changed:
            while len(sent) < 2:
                for name, obj in list(self.aggregated.flunders.items()):
                    if name not in sent:
                        line = json.dumps({"type": "ADDED", "object": obj}).encode() + b"\n"
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
                        sent.add(name)
                self.aggregated.changed.wait(5)
        self.wfile.write(b"0\r\n\r\n")

    def _echo(self) -> None:
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "echo")
        self.end_headers()
        while line := self.rfile.readline():
            self.wfile.write(line.upper())
        self.close_connection = True

    def _answer(self, code: int, obj: Object) -> None:
        data = json.dumps(obj).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def status(code: int, message: str) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}
