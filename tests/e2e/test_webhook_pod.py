"""A webhook and an aggregated API that run as one pod, reached as the API server reaches Services: through a node."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from apimachinery import pki
from tests.e2e.local_cluster import LocalCluster
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root]
IMAGE = "kubeto/kubeto:dev"
"""Has Python; everything else that it has is not used."""
GROUP = "pods.example.com"
SERVER = """
import json, http.server, ssl
from base64 import b64encode

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        response = {"uid": request["uid"], "allowed": "disallow" not in (request["object"].get("data") or {})}
        if not response["allowed"]:
            response["status"] = {"message": "the configmap contains unwanted key and value"}
        elif self.path.startswith("/mutate"):
            patch = [{"op": "add", "path": "/metadata/labels", "value": {"by": "webhook"}}]
            response |= {"patchType": "JSONPatch", "patch": b64encode(json.dumps(patch).encode()).decode()}
        self.answer({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})

    def do_GET(self):
        thing = {"name": "things", "singularName": "thing", "namespaced": False, "kind": "Thing", "verbs": ["list"]}
        if self.path.rstrip("/").endswith("/v1"):
            head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "GROUP/v1"}
            self.answer(head | {"resources": [thing]})
        else:
            name = {"name": "for-" + self.headers["X-Remote-User"]}
            items = [{"kind": "Thing", "apiVersion": "GROUP/v1", "metadata": name}]
            self.answer({"kind": "ThingList", "apiVersion": "GROUP/v1", "metadata": {}, "items": items})

    def answer(self, obj):
        data = json.dumps(obj).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/certificates/tls.crt", "/certificates/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
""".replace("GROUP", GROUP)


@pytest.fixture(scope="module")
def bundle(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The server runs; what comes back is the CA of its certificate."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "image", "inspect", IMAGE], capture_output=True).returncode:
        pytest.skip(f"needs the image {IMAGE}, which make up builds")
    directory: Path = tmp_path_factory.mktemp("webhook")
    ca = pki.ensure_ca(directory)
    pair = ca.ensure_server(directory / "webhook", "webhook", dns=["hook.hooks.svc"])
    (directory / "server.py").write_text(SERVER)
    cluster.kubectl("create", "namespace", "hooks")
    files = [f"--cert={pair.certificate_path}", f"--key={pair.key_path}"]
    cluster.kubectl("create", "secret", "tls", "certificates", "-n", "hooks", *files)
    cluster.kubectl("create", "configmap", "server", "-n", "hooks", f"--from-file={directory}/server.py")
    mounts = [{"name": "certificates", "mountPath": "/certificates"}, {"name": "server", "mountPath": "/server"}]
    container = {
        "name": "server",
        "image": IMAGE,
        "command": ["python3", "/server/server.py"],
        "imagePullPolicy": "IfNotPresent",
        "volumeMounts": mounts,
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
    }
    volumes = [
        {"name": "certificates", "secret": {"secretName": "certificates"}},
        {"name": "server", "configMap": {"name": "server"}},
    ]
    pod = {
        "metadata": {"name": "hook", "namespace": "hooks", "labels": {"app": "hook"}},
        "spec": {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 0},
    }
    apply(cluster, {"kind": "Pod", "apiVersion": "v1", **pod})
    cluster.kubectl("expose", "pod", "hook", "-n", "hooks", "--port=443", "--target-port=8443")
    cluster.kubectl("wait", "pod/hook", "-n", "hooks", "--for=condition=Ready", "--timeout=60s")
    return base64.b64encode(ca.pem).decode()


def apply(cluster: LocalCluster, obj: dict[str, Any]) -> None:
    cluster.kubectl("apply", "-f", "-", input=json.dumps(obj))


def test_a_webhook_in_a_pod(cluster: LocalCluster, bundle: str) -> None:
    def configuration(kind: str, path: str) -> dict[str, Any]:
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
        service = {"namespace": "hooks", "name": "hook", "path": path}
        webhook = {
            "name": "pod.example.com",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "rules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "hooks"}},
            "clientConfig": {"service": service, "caBundle": bundle},
        }
        head = {"kind": f"{kind}WebhookConfiguration", "apiVersion": "admissionregistration.k8s.io/v1"}
        return {**head, "metadata": {"name": "e2e"}, "webhooks": [webhook]}

    for kind, path in (("Validating", "/validate"), ("Mutating", "/mutate")):
        apply(cluster, configuration(kind, path))
    try:
        create = ("create", "configmap", "c", "-n", "hooks")
        labels = eventually(lambda: json.loads(cluster.kubectl(*create, "--dry-run=server", "-o", "json"))["metadata"])
        assert labels["labels"] == {"by": "webhook"}
        refused = cluster.kubectl(*create, "--from-literal=disallow=yes", check=False)
        assert 'admission webhook "pod.example.com" denied the request: the configmap contains unwanted' in refused
        cluster.kubectl("delete", "pod", "hook", "-n", "hooks", "--dry-run=server")
    finally:
        for kind in ("validating", "mutating"):
            cluster.kubectl("delete", f"{kind}webhookconfiguration", "e2e")


def test_an_aggregated_api_in_a_pod(cluster: LocalCluster, bundle: str) -> None:
    spec = {"group": GROUP, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10, "caBundle": bundle}
    service = {"namespace": "hooks", "name": "hook"}
    name = f"v1.{GROUP}"
    head = {"kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1", "metadata": {"name": name}}
    apply(cluster, {**head, "spec": spec | {"service": service}})
    try:
        cluster.kubectl("wait", "apiservice", name, "--for=condition=Available", "--timeout=20s")
        assert cluster.kubectl("get", "things", "-o", "name") == f"thing.{GROUP}/for-kubernetes-admin\n"
    finally:
        cluster.kubectl("delete", "apiservice", name)
