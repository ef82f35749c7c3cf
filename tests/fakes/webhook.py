"""A webhook: a TLS server in a thread of the test process, which answers AdmissionReviews as it is told."""

import base64
import json
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from apimachinery import pki

Object = dict[str, Any]
Answer = Callable[[Object], Object]
"""From the ``request`` of a review to its ``response``."""


def allow(request: Object) -> Object:
    return {"allowed": True}


def deny(message: str, **status: Any) -> Answer:
    return lambda request: {"allowed": False, "status": {"message": message, **status}}


def patch(*operations: Object) -> Answer:
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return lambda request: {"allowed": True, "patch": encoded, "patchType": "JSONPatch"}


def own_address() -> str:
    """An address of this machine that is not loopback: endpoints may not be."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


class WebhookServer:
    """``answers`` by path; ``asked`` holds the requests of reviews, ``paths`` where they came to, with the query."""

    def __init__(self, directory: Path, dns: tuple[str, ...] = ("hook.hooks.svc",)) -> None:
        self.ca = pki.ensure_ca(directory, "webhook-ca", "webhook")
        pair = self.ca.ensure_server(directory / "webhook", "webhook", dns=list(dns), ips=["127.0.0.1"])
        self.answers: dict[str, Answer] = {}
        self.asked: list[Object] = []
        self.paths: list[str] = []
        self.connections = 0
        self._server = ThreadingHTTPServer(("0.0.0.0", 0), self._handler())
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate_path, pair.key_path)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def ca_bundle(self) -> str:
        return base64.b64encode(self.ca.pem).decode()

    def config(self, path: str, answer: Answer = allow) -> Object:
        """A clientConfig by URL, for a webhook that answers so."""
        self.answers[path] = answer
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": self.ca_bundle}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                server.connections += 1
                super().setup()

            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                request = review["request"]
                server.asked.append(request)
                server.paths.append(self.path)
                answer = server.answers.get(self.path.partition("?")[0])
                if answer is None:
                    self.send_error(404)
                    return
                response = {"uid": request["uid"], **answer(request)}
                data = json.dumps({**review, "request": None, "response": response}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
