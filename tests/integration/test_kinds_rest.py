"""Kinds, patches and schemas through the real API server, with the real kubectl and with Go's protobuf."""

import json
from typing import Any

import pytest

from tests.control_plane import ApiServerProgram

APPLY = {"Content-Type": "application/apply-patch+yaml"}
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: c
        image: nginx
        ports: [{containerPort: 80}]
"""


def replicas(server: ApiServerProgram, namespace: str) -> Any:
    got = server.request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/web").json
    return got["spec"]["replicas"]


def test_kubectl_applies_both_ways(apiserver: ApiServerProgram, namespace: str) -> None:
    kubectl = ("-n", namespace)
    assert "created" in apiserver.kubectl(*kubectl, "apply", "-f", "-", stdin=DEPLOYMENT)
    assert "unchanged" in apiserver.kubectl(*kubectl, "apply", "-f", "-", stdin=DEPLOYMENT)
    changed = DEPLOYMENT.replace("image: nginx", "image: nginx:2\n        args: [x]")
    assert "configured" in apiserver.kubectl(*kubectl, "apply", "-f", "-", stdin=changed)
    assert "configured" in apiserver.kubectl(*kubectl, "apply", "-f", "-", stdin=DEPLOYMENT)
    got = apiserver.request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/web").json
    (container,) = got["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container.get("args")) == ("nginx", None)
    apiserver.kubectl(*kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=DEPLOYMENT)
    apiserver.kubectl(*kubectl, "scale", "deployment/web", "--replicas=5")
    with pytest.raises(AssertionError, match=r"Apply failed with 1 conflict.*\.spec\.replicas"):
        apiserver.kubectl(*kubectl, "apply", "--server-side", "-f", "-", stdin=DEPLOYMENT)
    assert replicas(apiserver, namespace) == 5
    apiserver.kubectl(*kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=DEPLOYMENT)
    assert replicas(apiserver, namespace) == 2


def test_kubectl_explains_and_validates(apiserver: ApiServerProgram, namespace: str) -> None:
    told = apiserver.kubectl("explain", "pod.spec.containers")
    assert "FIELD: containers <[]Container>" in told
    assert "-required-" in told
    with pytest.raises(AssertionError, match=r'strict decoding error: unknown field "spec\.foo"'):
        stdin = DEPLOYMENT.replace("replicas: 2", "replicas: 2\n  foo: 1")
        apiserver.kubectl("-n", namespace, "create", "-f", "-", stdin=stdin)
    wide = apiserver.kubectl("-n", namespace, "get", "all", "-o", "wide")
    assert wide.strip() == ""
    line = apiserver.kubectl("get", "svc", "kubernetes", "--no-headers").split()
    assert (line[1], line[3], line[4]) == ("ClusterIP", "<none>", "443/TCP")


def test_apply_refuses_what_the_schema_does_not_have(apiserver: ApiServerProgram, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web?fieldManager=me&fieldValidation=Strict"
    unknown = DEPLOYMENT.replace("replicas: 2", "replicas: 2\n  foo: 1").encode()
    refused = apiserver.request("PATCH", path, unknown, headers=APPLY)
    assert ".spec.foo: field not declared in schema" in refused.json["message"]
    twice = DEPLOYMENT.replace("replicas: 2", "replicas: 2\n  replicas: 3").encode()
    refused = apiserver.request("PATCH", path, twice, headers=APPLY)
    assert (refused.code, 'line 7: key "replicas" already set in map' in refused.json["message"]) == (400, True)
    nobody = apiserver.request("PATCH", path.partition("?")[0], DEPLOYMENT.encode(), headers=APPLY)
    assert (nobody.code, "fieldManager" in nobody.json["message"]) == (422, True)
    assert apiserver.request("PATCH", path, DEPLOYMENT.encode(), headers=APPLY).code == 201
    assert apiserver.request("PATCH", path, DEPLOYMENT.encode(), headers=APPLY).code == 200


def test_protobuf_bodies(apiserver: ApiServerProgram, namespace: str) -> None:
    def field(number: int, raw: bytes) -> bytes:
        return bytes([number << 3 | 2, len(raw)]) + raw

    about = field(1, b"v1") + field(2, b"ConfigMap")
    data = field(1, field(1, b"from-go")) + field(2, field(1, b"k") + field(2, b"v"))
    body = b"k8s\0" + field(1, about) + field(2, data)
    headers = {"Content-Type": "application/vnd.kubernetes.protobuf"}
    made = apiserver.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", body, headers=headers)
    assert (made.code, made.json["data"]) == (201, {"k": "v"})


def test_events_of_both_groups_are_the_same(apiserver: ApiServerProgram, namespace: str) -> None:
    new, core = (f"/{g}/namespaces/{namespace}/events" for g in ("apis/events.k8s.io/v1", "api/v1"))
    event = {
        "metadata": {"name": "e"},
        "regarding": {"kind": "Pod", "name": "p", "namespace": namespace},
        "note": "hello",
        "reason": "Testing",
        "type": "Normal",
        "eventTime": "2026-01-01T00:00:00.000001Z",
        "reportingController": "me",
        "reportingInstance": "here",
        "action": "Test",
    }
    made = apiserver.request("POST", new, event).json
    assert (made["apiVersion"], made["note"]) == ("events.k8s.io/v1", "hello")
    stored = apiserver.request("GET", f"{core}/e").json
    assert (stored["apiVersion"], stored["message"], stored["reportingComponent"]) == ("v1", "hello", "me")
    merge = {"Content-Type": "application/merge-patch+json"}
    apiserver.request("PATCH", f"{new}/e", {"note": "changed"}, headers=merge)
    assert apiserver.request("GET", f"{core}/e").json["message"] == "changed"
    listed = apiserver.request("GET", f"{new}?fieldSelector=regarding.name%3Dp").json
    assert [(e["kind"], e["note"]) for e in listed["items"]] == [("Event", "changed")]
    assert "hello" not in json.dumps(listed)


def test_a_failed_test_operation_changes_nothing(apiserver: ApiServerProgram, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    apiserver.request("POST", maps, {"metadata": {"name": "c"}, "data": {"a": "1"}})
    operations = [{"op": "replace", "path": "/data/a", "value": "2"}, {"op": "test", "path": "/data/a", "value": "3"}]
    headers = {"Content-Type": "application/json-patch+json"}
    refused = apiserver.request("PATCH", f"{maps}/c", operations, headers=headers)
    assert (refused.code, refused.json["reason"]) == (422, "Invalid")
    assert apiserver.request("GET", f"{maps}/c").json["data"] == {"a": "1"}
