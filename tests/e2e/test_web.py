"""What a person does in a first session, with the real kubectl on three nodes."""

import re
import subprocess
import urllib.request
from typing import Any

import pytest

from tests.e2e.local_cluster import LocalCluster
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root]
PAGE = "Hello from Kubeto"
# Ends at SIGTERM, which a plain `sleep` as the first process of a container ignores.
OBEDIENT = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")


def node_addresses(cluster: LocalCluster) -> dict[str, str]:
    return {
        n["metadata"]["name"]: next(a["address"] for a in n["status"]["addresses"] if a["type"] == "InternalIP")
        for n in cluster.get("nodes")["items"]
    }


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=3) as answer:
        return str(answer.read().decode())


def pods(cluster: LocalCluster, selector: str, namespace: str = "default") -> list[dict[str, Any]]:
    found = cluster.get("pods", "-n", namespace, "-l", selector)["items"]
    return [p for p in found if not p["metadata"].get("deletionTimestamp")]


def test_nodes_are_ready(cluster: LocalCluster) -> None:
    lines = cluster.kubectl("get", "nodes", "--no-headers").splitlines()
    assert [line.split()[:2] for line in lines] == [[f"node-{i}", "Ready"] for i in (1, 2, 3)]


def test_the_deployment_is_spread_over_all_nodes(cluster: LocalCluster, web: str) -> None:
    assert {p["spec"]["nodeName"] for p in pods(cluster, "app=web")} == {"node-1", "node-2", "node-3"}


def test_every_nodes_port_serves_the_page(cluster: LocalCluster, web: str) -> None:
    for address in node_addresses(cluster).values():
        assert PAGE in eventually(lambda address=address: fetch(f"http://{address}:30080/"))


def test_a_pod_reaches_the_others(cluster: LocalCluster, web: str) -> None:
    client, *others = [p["metadata"]["name"] for p in pods(cluster, "app=web")]
    addresses = [p["status"]["podIP"] for p in pods(cluster, "app=web") if p["metadata"]["name"] in others]
    service = cluster.get("service", "web")["spec"]["clusterIP"]
    for target in [*addresses, service, "web", "web.default.svc.cluster.local"]:
        page = eventually(
            lambda t=target: cluster.kubectl("exec", client, "--", "timeout", "3", "wget", "-q", "-O-", f"http://{t}/")
        )
        assert PAGE in page


def test_exec_passes_stdin_and_the_exit_code(cluster: LocalCluster, web: str) -> None:
    assert cluster.kubectl("exec", "-i", "deploy/web", "--", "cat", input="through\n") == "through\n"
    with pytest.raises(AssertionError, match="exit code 7"):
        cluster.kubectl("exec", "deploy/web", "--", "sh", "-c", "exit 7")


def test_logs_of_this_life_and_the_last(cluster: LocalCluster, namespace: str) -> None:
    script = (
        "echo started; n=$(cat /keep/n 2>/dev/null || echo 0); echo $((n+1)) > /keep/n; "
        "echo life $n; [ $n = 0 ] && exit 3; sleep 1000"
    )
    cluster.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: talker, namespace: {namespace}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: kubeto/busybox:1
      command: [sh, -c, {script!r}]
      volumeMounts: [{{name: keep, mountPath: /keep}}]
  volumes: [{{name: keep, emptyDir: {{}}}}]
""")
    eventually(lambda: "life 1" in cluster.kubectl("logs", "talker", "-n", namespace), within=45)
    assert cluster.kubectl("logs", "talker", "-n", namespace, "--previous") == "started\nlife 0\n"
    follower = [
        "timeout",
        "3",
        cluster.kubectl_program,
        f"--kubeconfig={cluster.kubeconfig}",
        "logs",
        "-f",
        "talker",
        "-n",
        namespace,
    ]
    assert "life 1" in subprocess.run(follower, capture_output=True, text=True, check=False).stdout


def test_port_forward(cluster: LocalCluster, web: str) -> None:
    command = [cluster.kubectl_program, f"--kubeconfig={cluster.kubeconfig}", "port-forward", "deploy/web", ":80"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            port = re.search(r":(\d+) ->", forward.stdout.readline())
            assert port
            assert PAGE in fetch(f"http://127.0.0.1:{port[1]}/")
            assert PAGE in fetch(f"http://127.0.0.1:{port[1]}/")
        finally:
            forward.terminate()


def test_scale_set_image_and_undo(cluster: LocalCluster, namespace: str) -> None:
    cluster.kubectl(
        "create", "deployment", "d", "--image=kubeto/busybox:1", "--replicas=2", "-n", namespace, "--", *OBEDIENT
    )
    cluster.kubectl("rollout", "status", "deployment/d", "-n", namespace, "--timeout=60s")
    cluster.kubectl("scale", "deployment/d", "--replicas=3", "-n", namespace)
    cluster.kubectl("rollout", "status", "deployment/d", "-n", namespace, "--timeout=60s")
    assert len(pods(cluster, "app=d", namespace)) == 3
    cluster.kubectl("set", "image", "deployment/d", "busybox=kubeto/absent:1", "-n", namespace)
    eventually(lambda: any(
        s.get("state", {}).get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull")
        for p in pods(cluster, "app=d", namespace) for s in p["status"].get("containerStatuses", ())
    ), within=60)  # fmt: skip
    cluster.kubectl("rollout", "undo", "deployment/d", "-n", namespace)
    cluster.kubectl("rollout", "status", "deployment/d", "-n", namespace, "--timeout=60s")
    images = {p["spec"]["containers"][0]["image"] for p in pods(cluster, "app=d", namespace)}
    assert images == {"kubeto/busybox:1"}


def test_describe_tells_the_pods_story(cluster: LocalCluster, web: str) -> None:
    name = pods(cluster, "app=web")[0]["metadata"]["name"]
    told = cluster.kubectl("describe", "pod", name)
    for word in ("Scheduled", "Created", "Started", "node-"):
        assert word in told


def test_top(cluster: LocalCluster, web: str) -> None:
    assert "node-1" in eventually(lambda: cluster.kubectl("top", "nodes"))
    assert "web-" in eventually(lambda: cluster.kubectl("top", "pods"))


def test_deleting_a_namespace_leaves_no_container(cluster: LocalCluster) -> None:
    cluster.kubectl("create", "namespace", "doomed")
    eventually(lambda: cluster.kubectl("get", "serviceaccount", "default", "-n", "doomed"))
    cluster.kubectl(
        "create", "deployment", "d", "--image=kubeto/busybox:1", "--replicas=3", "-n", "doomed", "--", *OBEDIENT
    )
    cluster.kubectl("rollout", "status", "deployment/d", "-n", "doomed", "--timeout=60s")
    cluster.kubectl("delete", "namespace", "doomed", "--timeout=90s")
    assert eventually(lambda: not containers_of("doomed"))


def containers_of(namespace: str) -> list[str]:
    label = f"label=io.kubernetes.pod.namespace={namespace}"
    listed = subprocess.run(["docker", "ps", "-aq", "--filter", label], capture_output=True, text=True, check=True)
    return listed.stdout.split()


def test_our_own_command_line(cluster: LocalCluster, web: str) -> None:
    assert "Ready" in cluster.kubeto("get", "nodes")
    assert cluster.kubeto("get", "deploy/web", "-o", "jsonpath={.spec.replicas}") == "4"
    assert cluster.kubeto("exec", "deploy/web", "--", "echo", "hello") == "hello\n"
    name = pods(cluster, "app=web")[0]["metadata"]["name"]
    assert "Scheduled on node-" in cluster.kubeto("why", name)
    assert "Events:" in cluster.kubeto("describe", "pod", name)
