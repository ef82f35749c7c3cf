"""Audit events to a webhook: in batches, again where it fails, and lost and counted where it stays away."""

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.control_plane import ROOT, ApiServerProgram, Etcd
from tests.waiting import eventually

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
BATCH = 5


class Receiver:
    """``code`` is what it answers; it keeps what it has taken."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.code, self.asked = 200, 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.asked += 1
                if receiver.code == 200:
                    assert (body["kind"], body["apiVersion"]) == ("EventList", "audit.k8s.io/v1")
                    receiver.batches.append(body["items"])
                self.send_response(receiver.code)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/audit"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def names(self) -> list[str]:
        """Of the created, in the order of arrival."""
        events = [event for batch in self.batches for event in batch]
        return [e["objectRef"]["name"] for e in events if e["verb"] == "create" and e["stage"] == "ResponseComplete"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


@pytest.fixture
def server(etcd: Etcd, receiver: Receiver, tmp_path: Path) -> Iterator[ApiServerProgram]:
    config = tmp_path / "webhook.conf"
    config.write_text(yaml.safe_dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": receiver.url}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }))  # fmt: skip
    flags = (f"--audit-policy-file={ROOT / 'deploy/audit-policy.yaml'}", f"--audit-webhook-config-file={config}")
    flags += (f"--audit-webhook-batch-max-size={BATCH}", "--audit-webhook-batch-max-wait=100ms")
    flags += ("--audit-webhook-initial-backoff=100ms", f"--etcd-prefix=/{uuid.uuid4()}")
    with ApiServerProgram(tmp_path / "server", etcd.url, flags) as running:
        yield running


def create(server: ApiServerProgram, name: str, count: int) -> list[str]:
    names = [f"{name}-{number}" for number in range(count)]
    for one in names:
        assert server.request("POST", ACCOUNTS, {"metadata": {"name": one}}).code == 201
    return names


def lost(server: ApiServerProgram) -> int:
    text = server.request("GET", "/metrics").text
    found = re.search(r'^apiserver_audit_error_total\{plugin="webhook"\} ([0-9.]+)', text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def test_a_webhook_gets_all_in_bounded_batches_and_may_fail(server: ApiServerProgram, receiver: Receiver) -> None:
    first = create(server, "all", 23)
    eventually(lambda: set(first) <= set(receiver.names()))
    assert [n for n in receiver.names() if n in first] == first, "in order, once"
    assert max(map(len, receiver.batches)) <= BATCH

    receiver.code, before = 500, receiver.asked
    again = create(server, "again", 2)
    eventually(lambda: receiver.asked >= before + 2)
    receiver.code = 200
    eventually(lambda: set(again) <= set(receiver.names()))
    assert lost(server) == 0

    receiver.code = 500
    began = time.monotonic()
    create(server, "lost", 12)
    assert time.monotonic() - began < 5, "nobody waits for a webhook"
    eventually(lambda: lost(server) > 0)
    receiver.code = 200
    assert eventually(lambda: create(server, f"back-{uuid.uuid4().hex[:6]}", 1)[0] in _soon(receiver))
    assert server.request("GET", "/readyz").code == 200


def _soon(receiver: Receiver) -> list[str]:
    time.sleep(0.3)  # a batch's wait and its way
    return receiver.names()
