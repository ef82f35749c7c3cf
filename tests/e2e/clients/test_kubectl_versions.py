"""kubectl, an older and a newer one: what the transcripts do not have. Names with "should" are upstream's (sig-cli)."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.e2e.clients.conftest import deployment
from tests.e2e.local_cluster import BIN, LocalCluster
from tests.waiting import eventually

PROGRAMS = ["/usr/bin/kubectl", str(BIN / "kubectl")]
Kubectl = Callable[..., str]
WEB = yaml.safe_dump(deployment("web"))


@pytest.fixture(params=PROGRAMS, ids=["older", "newer"])
def program(request: pytest.FixtureRequest) -> str:
    found = str(request.param)
    if shutil.which(found) is None:
        pytest.skip(f"no {found}")
    return found


@pytest.fixture
def kubectl(program: str, shared: LocalCluster, space: str) -> Kubectl:
    def run(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return shared.run(program, "--namespace", space, *arguments, input=stdin, check=check)

    return run


@contextmanager
def proxy(program: str, kubeconfig: str, *arguments: str) -> Iterator[str]:
    """``kubectl proxy``; what it says first."""
    command = [program, "--kubeconfig", kubeconfig, "proxy", *arguments]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        yield running.stdout.readline()
    finally:
        running.terminate()
        running.wait()


def test_should_support_proxy_with_port_0(program: str, shared: LocalCluster) -> None:
    with proxy(program, shared.kubeconfig, "--port=0", "--disable-filter") as told:
        found = re.search(r"127\.0\.0\.1:(\d+)", told)
        assert found, told
        assert "versions" in json.loads(shared.run("curl", "-s", f"http://127.0.0.1:{found[1]}/api/"))


def test_should_support_unix_socket_path(program: str, shared: LocalCluster, tmp_path: Path) -> None:
    path = str(tmp_path / "proxy.sock")
    with proxy(program, shared.kubeconfig, f"--unix-socket={path}"):
        reply = eventually(lambda: shared.run("curl", "-s", "--unix-socket", path, "http://localhost/api/"))
    assert json.loads(reply)["versions"] == ["v1"]


def test_should_check_if_kubectl_describe_prints_relevant_information(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=WEB)
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
    pod = kubectl("get", "pods", "-o", "name").strip()
    for kind, words in {
        pod: ("Controlled By: ReplicaSet/web", "Image:", "State: Running", "QoS Class:"),
        "service/web": ("IP:", "TargetPort: 8080/TCP", "Endpoints: 10.244."),
        "node/node-0": ("Addresses:", "Capacity:", "Allocatable:", "PodCIDR:", "Lease:"),
        "namespace/default": ("Status: Active", "No resource quota."),
    }.items():
        told = " ".join(kubectl("describe", kind).split())
        assert [w for w in words if w not in told] == [], told


def test_should_check_if_kubectl_diff_finds_a_difference(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=WEB)
    told = kubectl("diff", "-f", "-", stdin=WEB.replace("busybox:1", "busybox:2"), check=False)
    assert re.search(r"^\+ +- image: kubeto/busybox:2$", told, re.M), told
    assert kubectl("diff", "-f", "-", stdin=WEB, check=False) == ""


def test_should_check_if_kubectl_can_dry_run_update_pods(kubectl: Kubectl) -> None:
    kubectl("run", "pod", "--image=kubeto/busybox:1", "--labels=run=pod")
    patch = '{"spec":{"containers":[{"name": "pod","image": "kubeto/busybox:2"}]}}'
    kubectl("patch", "pod", "pod", "-p", patch, "--dry-run=server")
    assert kubectl("get", "pod", "pod", "-o", "jsonpath={.spec.containers[0].image}") == "kubeto/busybox:1"


def test_should_update_a_single_container_pods_image(kubectl: Kubectl) -> None:
    kubectl("run", "pod", "--image=kubeto/busybox:1")
    eventually(lambda: kubectl("get", "pod", "pod", "-o", "jsonpath={.status.phase}") == "Running")
    changed = kubectl("get", "pod", "pod", "-o", "json").replace("busybox:1", "busybox:2")
    kubectl("replace", "-f", "-", stdin=changed)
    assert kubectl("get", "pod", "pod", "-o", "jsonpath={.spec.containers[0].image}") == "kubeto/busybox:2"


def test_should_update_the_label_and_add_annotations(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=WEB)
    kubectl("label", "deployment", "web", "testing-label=testing-label-value")
    table = kubectl("get", "deployment", "web", "-L", "testing-label")
    assert "testing-label-value" in table and "TESTING-LABEL" in table
    kubectl("label", "deployment", "web", "testing-label-")
    assert "testing-label-value" not in kubectl("get", "deployment", "web", "-L", "testing-label")
    kubectl("patch", "deployment", "web", "-p", '{"metadata":{"annotations":{"x":"y"}}}')
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.annotations.x}") == "y"


def test_should_tell_versions_and_where_the_cluster_is(kubectl: Kubectl) -> None:
    assert {"v1", "apps/v1", "resource.k8s.io/v1"} <= set(kubectl("api-versions").split())
    assert "Kubernetes control plane" in kubectl("cluster-info")
    versions = yaml.safe_load(kubectl("version", "-o", "yaml"))
    assert versions["serverVersion"]["minor"] == "36"
    namespaced = kubectl("api-resources", "--namespaced=true", "--verbs=list,watch", "-o", "name").split()
    assert {"pods", "deployments.apps", "leases.coordination.k8s.io"} <= set(namespaced)
    assert "nodes" not in namespaced
    everything = kubectl("api-resources", "--categories=all", "--no-headers")
    assert {line.split()[0] for line in everything.splitlines()} >= {"pods", "services", "jobs", "cronjobs"}


def test_watching_as_a_user_does(program: str, kubectl: Kubectl, shared: LocalCluster, space: str) -> None:
    command = [program, "--namespace", space, "get", "configmaps", "-w", "-o", "name", "--request-timeout=20s"]
    watch = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "KUBECONFIG": shared.kubeconfig}
    )
    assert watch.stdout is not None
    assert watch.stdout.readline().strip() == "configmap/kube-root-ca.crt"
    kubectl("create", "configmap", "one")
    assert watch.stdout.readline().strip() == "configmap/one"
    watch.terminate()
    watch.wait()
    kubectl("create", "configmap", "two")
    kubectl("wait", "configmap/two", "--for=create", "--timeout=5s")
    names = kubectl(
        "get", "configmaps", "--chunk-size=1", "--sort-by=.metadata.name", "-o", "custom-columns=N:.metadata.name"
    )
    assert names.split() == ["N", "kube-root-ca.crt", "one", "two"]


def test_rights_from_a_file(kubectl: Kubectl, space: str) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "reader", "namespace": space},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    assert "reconciled" in kubectl("auth", "reconcile", "-f", "-", stdin=json.dumps(role))
    role["rules"] = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    kubectl("auth", "reconcile", "-f", "-", stdin=json.dumps(role))
    kubectl("create", "rolebinding", "readers", "--role=reader", "--user=jane")
    told = kubectl("auth", "can-i", "--list", "--as=jane")
    assert re.search(r"^pods +\[\] +\[\] +\[get list\]", told, re.M), told


def test_debugging_a_node(kubectl: Kubectl) -> None:
    kubectl("debug", "node/node-0", "--image=kubeto/busybox:1", "--profile=general")
    (pod,) = json.loads(kubectl("get", "pods", "-o", "json"))["items"]
    assert (pod["spec"]["nodeName"], pod["spec"]["hostNetwork"]) == ("node-0", True)


def test_a_config_of_ones_own(program: str, shared: LocalCluster, tmp_path: Path) -> None:
    path = str(shutil.copy(shared.kubeconfig, tmp_path / "config"))

    def config(*arguments: str) -> str:
        return shared.run(program, "--kubeconfig", path, "config", *arguments)

    current = config("current-context").strip()
    config("set-credentials", "wrong", "--token=wrong")
    config(
        "set-context",
        "other",
        f"--cluster={yaml.safe_load(Path(path).read_text())['clusters'][0]['name']}",
        "--user=wrong",
    )
    config("use-context", "other")
    told = shared.run(program, "--kubeconfig", path, "get", "pods", check=False)
    assert "You must be logged in to the server" in told
    config("use-context", current)
    assert "node-0" in shared.run(program, "--kubeconfig", path, "get", "nodes")


def test_copying_files(program: str, cluster: LocalCluster, tmp_path: Path) -> None:
    """``cp`` both ways, on real containers."""
    pod = f"copy-{'old' if program.startswith('/usr') else 'new'}"
    eventually(lambda: cluster.kubectl("get", "serviceaccount", "default"))
    cluster.run(program, "run", pod, "--image=kubeto/busybox:1", "--", "sleep", "1000")
    cluster.run(program, "wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=20s")
    (tmp_path / "there.txt").write_text("there and back\n")
    cluster.run(program, "cp", str(tmp_path / "there.txt"), f"{pod}:/tmp/there.txt")
    cluster.run(program, "cp", f"{pod}:/tmp/there.txt", str(tmp_path / "back.txt"))
    assert (tmp_path / "back.txt").read_text() == "there and back\n"
    cluster.run(program, "delete", "pod", pod, "--force", "--grace-period=0")
