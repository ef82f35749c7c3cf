"""A real operator on kopf, as a program of its own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control_plane import Program
from tests.e2e.local_cluster import LocalCluster, eventually

OPERATOR = Path(__file__).with_name("operator_of_settings.py")


@pytest.fixture
def operator(shared: LocalCluster, space: str, tmp_path: Path) -> Iterator[Program]:
    run = [sys.executable, "-m", "kopf", "run", "--standalone", f"--namespace={space}", str(OPERATOR)]
    program = Program(["env", f"KUBECONFIG={shared.kubeconfig}", *run], tmp_path / "operator.log")
    program.start()
    yield program
    program.stop()


def test_an_operator(shared: LocalCluster, space: str, operator: Program) -> None:
    def annotations() -> dict[str, str]:
        found: dict[str, str] = shared.get("configmap", "-n", space, "web")["metadata"].get("annotations", {})
        return found

    def replicas() -> int:
        return int(shared.get("deployment", "-n", space, "web")["status"].get("readyReplicas", 0))

    shared.kubectl("create", "configmap", "-n", space, "web", "--from-literal=replicas=2")
    shared.kubectl("label", "configmap", "-n", space, "web", "operated=yes")
    eventually(lambda: replicas() == 2)
    eventually(lambda: annotations().get("ticks") == "3" and annotations().get("seen") == "1 True")
    made = shared.get("configmap", "-n", space, "web")["metadata"]
    assert made["finalizers"] == ["example.dev/kopf"]
    assert shared.get("deployment", "-n", space, "web")["metadata"]["ownerReferences"][0]["uid"] == made["uid"]
    shared.kubectl("patch", "configmap", "-n", space, "web", "-p", '{"data": {"replicas": "1"}}')
    eventually(lambda: replicas() == 1)
    told = shared.get("events", "-n", space, "--field-selector=involvedObject.name=web,reason=Served")["items"]
    assert [e["message"] for e in told] == ["made a deployment"]
    shared.kubectl("delete", "configmap", "-n", space, "web", "--timeout=20s")
    shared.kubectl("get", "configmap", "-n", space, "was-web")
    eventually(lambda: not shared.get("pods", "-n", space)["items"])
    assert operator.stop() == 0
    log = operator.log.read_text()
    assert "Traceback" not in log, log
