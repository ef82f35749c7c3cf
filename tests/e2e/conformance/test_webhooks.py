"""sig-api-machinery: admission webhooks, as upstream's tests use them, with a server beside the API server."""

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from apimachinery import pki
from tests.control_plane import ApiServerProgram
from tests.e2e.conformance.api import MERGE, Object, Refused, resource
from tests.waiting import eventually

GROUP = "admissionregistration.k8s.io"


def _patch(*operations: Object) -> Object:
    return {
        "allowed": True,
        "patchType": "JSONPatch",
        "patch": base64.b64encode(json.dumps(operations).encode()).decode(),
    }


def decide(path: str, request: Object) -> Object:
    """The response of each webhook, by its path."""
    obj = request.get("object") or {}
    data = obj.get("data") or {}
    match path:
        case "/deny" if data.get("webhook-e2e-test") == "webhook-disallow":
            return {"allowed": False, "status": {"message": "the configmap contains unwanted key and value"}}
        case "/first" if data.get("mutation-start") == "yes":
            return _patch({"op": "add", "path": "/data/mutation-stage-1", "value": "yes"})
        case "/second" if data.get("mutation-stage-1") == "yes":
            return _patch({"op": "add", "path": "/data/mutation-stage-2", "value": "yes"})
        case "/pods":
            init = [{"name": "webhook-added-init-container", "image": "i", "resources": {}}]
            return _patch({"op": "add", "path": "/spec/initContainers", "value": init})
        case "/slow":
            time.sleep(3)
        case "/undeletable" if request["operation"] == "DELETE":
            held = (request["oldObject"] or {}).get("data", {}).get("webhook-e2e-test") == "webhook-nondeletable"
            return {"allowed": not held, "status": {"message": "the configmap cannot be deleted"}}
    return {"allowed": True}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        answer = {
            **review,
            "request": None,
            "response": {"uid": request["uid"], **decide(self.path.split("?")[0], request)},
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def hooks(plane: ApiServerProgram, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Object]:
    """``url`` and ``caBundle`` of the webhooks' server."""
    directory = tmp_path_factory.mktemp("hooks")
    ca = pki.ensure_ca(directory)
    pair = ca.ensure_server(directory / "hook", "hook", dns=["localhost"], ips=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate_path, pair.key_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {"url": f"https://127.0.0.1:{server.server_port}", "caBundle": base64.b64encode(ca.pem).decode()}
    server.shutdown()


@pytest.fixture
def register(plane: ApiServerProgram, space: str, hooks: Object) -> Iterator[Any]:
    """Registers webhooks on configmaps or pods of the test's namespace, and waits until they are asked."""
    kinds = {k: resource(plane, f"{k}webhookconfigurations", GROUP) for k in ("validating", "mutating")}

    def add(
        kind: str, *paths: str, on: str = "configmaps", operations: tuple[str, ...] = ("CREATE", "UPDATE"), **more: Any
    ) -> None:
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": [on], "operations": list(operations)}
        here = {"matchLabels": {"kubernetes.io/metadata.name": space}}
        webhooks = [
            {"name": f"{path.strip('/')}.example.com", "rules": [rule], "sideEffects": "None",
             "admissionReviewVersions": ["v1"], "namespaceSelector": here,
             "clientConfig": {"url": hooks["url"] + path, "caBundle": hooks["caBundle"]}, **more}
            for path in paths
        ]  # fmt: skip
        kinds[kind].create({"metadata": {"name": space}, "webhooks": webhooks})

    yield add
    for configurations in kinds.values():
        if space in configurations.names():
            configurations.delete(space)


def refused(call: Any) -> Refused | None:
    try:
        call()
    except Refused as error:
        return error
    return None


def test_should_be_able_to_deny_pod_and_configmap_creation(plane: ApiServerProgram, space: str, register: Any) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    register("validating", "/deny")
    bad = {"data": {"webhook-e2e-test": "webhook-disallow"}}
    told = eventually(lambda: refused(lambda: maps.create({"metadata": {"generateName": "x-"}, **bad})))
    assert 'admission webhook "deny.example.com" denied the request: the configmap contains unwanted' in told.message
    maps.create({"metadata": {"name": "good"}, "data": {"a": "b"}})
    assert refused(lambda: maps.patch("good", bad, MERGE)) is not None
    good = maps.get("good")
    assert refused(lambda: maps.update({**good, **bad})) is not None
    configurations = resource(plane, "validatingwebhookconfigurations", GROUP)
    operations = [{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["DELETE"]}]
    configurations.patch(space, operations, "application/json-patch+json")
    eventually(lambda: refused(lambda: maps.create({"metadata": {"generateName": "y-"}, **bad})) is None)


def test_should_mutate_configmap_in_order(plane: ApiServerProgram, space: str, register: Any) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    register("mutating", "/first", "/second")
    wanted = {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}
    body = {"metadata": {"generateName": "x-"}, "data": {"mutation-start": "yes"}}
    eventually(lambda: maps.create(body)["data"] == wanted)


def test_should_mutate_pod_and_apply_defaults_after_mutation(
    plane: ApiServerProgram, space: str, register: Any
) -> None:
    register("mutating", "/pods", on="pods", operations=("CREATE",))
    pods = resource(plane, "pods", namespace=space)
    body = {"metadata": {"generateName": "x-"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    (made,) = eventually(lambda: pods.create(body)["spec"].get("initContainers"))
    assert (made["name"], made["terminationMessagePolicy"]) == ("webhook-added-init-container", "File")


def test_should_honor_timeout(plane: ApiServerProgram, space: str, register: Any, hooks: Object) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    register("validating", "/slow", timeoutSeconds=1, failurePolicy="Fail")
    told = eventually(lambda: refused(lambda: maps.create({"metadata": {"generateName": "x-"}})))
    assert "webhook" in told.message and ("deadline" in told.message or "timeout" in told.message)
    assert f"{hooks['url']}/slow?timeout=1s" in told.message
    configurations = resource(plane, "validatingwebhookconfigurations", GROUP)
    operations = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]
    configurations.patch(space, operations, "application/json-patch+json")
    eventually(lambda: refused(lambda: maps.create({"metadata": {"generateName": "y-"}})) is None)


def test_should_unconditionally_reject_operations_on_fail_closed_webhook(
    plane: ApiServerProgram, space: str, register: Any
) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    nobody = {"clientConfig": {"url": "https://127.0.0.1:9/none"}, "failurePolicy": "Fail"}
    register("validating", "/none", **nobody)
    told = eventually(lambda: refused(lambda: maps.create({"metadata": {"generateName": "x-"}})))
    assert (told.code, told.reason) == (500, "InternalError")
    assert "failed calling webhook" in told.message


def test_should_be_able_to_deny_deletion(plane: ApiServerProgram, space: str, register: Any) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    register("validating", "/undeletable", operations=("DELETE",))

    def held() -> Refused | None:
        name = maps.create({"metadata": {"generateName": "x-"}, "data": {"webhook-e2e-test": "webhook-nondeletable"}})
        return refused(lambda: maps.delete(name["metadata"]["name"]))

    assert "the configmap cannot be deleted" in eventually(held).message


@pytest.mark.parametrize("kind", ["validating", "mutating"])
def test_should_reject_webhook_configurations_with_invalid_match_conditions(
    plane: ApiServerProgram, space: str, register: Any, kind: str
) -> None:
    conditions = [{"name": "invalid", "expression": "... [] bad expression"}]
    told = refused(lambda: register(kind, "/deny", matchConditions=conditions))
    assert told is not None and "compilation failed" in told.message


def test_should_mutate_everything_except_skip_me_configmaps(plane: ApiServerProgram, space: str, register: Any) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    register(
        "mutating", "/first", matchConditions=[{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]
    )
    data = {"mutation-start": "yes"}
    eventually(lambda: "mutation-stage-1" in maps.create({"metadata": {"generateName": "x-"}, "data": data})["data"])
    assert maps.create({"metadata": {"name": "skip-me"}, "data": data})["data"] == data
