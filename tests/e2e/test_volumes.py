"""Claims and their volumes, as a user of kubectl meets them on three nodes."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.local_cluster import RUNTIME, LocalCluster
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root]


def claim(name: str, **spec: Any) -> dict[str, Any]:
    base = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}
    meta = {"name": name}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": base | spec}


def pod(name: str, script: str, *volumes: dict[str, Any], **spec: Any) -> dict[str, Any]:
    mounts = [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in volumes]
    container = {"name": "c", "image": "kubeto/busybox:1", "command": ["sh", "-c", script], "volumeMounts": mounts}
    base = {"containers": [container], "volumes": list(volumes), "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": base | spec}


def apply(cluster: LocalCluster, namespace: str, *objects: dict[str, Any]) -> None:
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}), "-n", namespace)


def of_claim(name: str, **source: Any) -> dict[str, Any]:
    return {"name": "data", "persistentVolumeClaim": {"claimName": name, **source}}


def with_device(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod with its volume as a device in the place of a folder."""
    container = pod["spec"]["containers"][0]
    container["volumeDevices"] = [{"name": container.pop("volumeMounts")[0]["name"], "devicePath": "/dev/disk"}]
    return pod


def test_a_stateful_set_keeps_its_data_and_its_nodes(cluster: LocalCluster, namespace: str) -> None:
    script = "echo $HOSTNAME >> /data/log; trap 'exit 0' TERM; sleep 1000 & wait"
    template = pod("x", script)["spec"]
    template["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    template["securityContext"] = {"runAsUser": 1000, "fsGroup": 2000}
    spec = {
        "serviceName": "db", "replicas": 2, "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": template},
        "volumeClaimTemplates": [claim("data")],
    }  # fmt: skip
    apply(
        cluster, namespace, {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec}
    )
    rolled_out = ("rollout", "status", "statefulset/db", "-n", namespace, "--timeout=60s")
    cluster.kubectl(*rolled_out)

    def nodes() -> list[str]:
        return [cluster.get("pod", f"db-{n}", "-n", namespace)["spec"]["nodeName"] for n in range(2)]

    before = nodes()
    cluster.kubectl("delete", "pod", "db-0", "db-1", "-n", namespace)
    cluster.kubectl(*rolled_out)
    for number in range(2):
        log = cluster.kubectl("exec", f"db-{number}", "-n", namespace, "--", "cat", "/data/log")
        assert log.split() == [f"db-{number}"] * 2
    assert nodes() == before
    owner = cluster.kubectl("exec", "db-0", "-n", namespace, "--", "stat", "-c", "%g %a", "/data")
    assert owner.split() == ["2000", "2777"]


def test_a_claim_in_use_stays_and_its_data_go_with_it(cluster: LocalCluster, namespace: str) -> None:
    apply(cluster, namespace, claim("c"), pod("p", "echo hello > /data/x; sleep 1000", of_claim("c")))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/p", "-n", namespace, "--timeout=30s")
    volume = cluster.get("pvc", "c", "-n", namespace)["spec"]["volumeName"]
    folder = Path(cluster.get("pv", volume)["spec"]["local"]["path"])
    assert eventually((folder / "x").read_text) == "hello\n"
    cluster.kubectl("delete", "pvc", "c", "-n", namespace, "--wait=false")
    assert cluster.get("pvc", "c", "-n", namespace)["status"]["phase"] == "Bound"
    cluster.kubectl("delete", "pod", "p", "-n", namespace)
    cluster.kubectl("wait", "--for=delete", f"pv/{volume}", "--timeout=30s")
    assert not folder.exists()


def test_a_volume_made_by_hand_is_bound_and_may_be_read_only(
    cluster: LocalCluster, namespace: str, tmp_path: Path
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "x").write_text("from the host\n")
    spec = {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
        "hostPath": {"path": str(folder), "type": "Directory"},
    }  # fmt: skip
    meta = {"name": f"{namespace}-pv"}
    apply(cluster, namespace, {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": spec})
    script = "cat /data/x; touch /data/y || echo refused; sleep 1000"
    apply(cluster, namespace, claim("c", storageClassName=""), pod("p", script, of_claim("c", readOnly=True)))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/p", "-n", namespace, "--timeout=30s")
    eventually(lambda: "refused" in cluster.kubectl("logs", "p", "-n", namespace))
    assert "from the host" in cluster.kubectl("logs", "p", "-n", namespace)
    cluster.kubectl("delete", "pod/p", "pvc/c", "-n", namespace)
    eventually(lambda: cluster.get("pv", meta["name"])["status"]["phase"] == "Released")
    cluster.kubectl("delete", "pv", meta["name"])
    assert (folder / "x").exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A block device."""
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    command = ["losetup", "--find", "--show", tmp_path / "disk"]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


def test_a_device_of_a_node_is_a_volume(cluster: LocalCluster, namespace: str, tmp_path: Path, disk: str) -> None:
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    (tmp_path / "link").symlink_to(disk)
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    spec = {
        "capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand",
        "volumeMode": "Block", "local": {"path": str(tmp_path / "link")},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
    }  # fmt: skip
    meta = {"name": f"{namespace}-pv"}
    apply(cluster, namespace, {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": spec})
    small = {"storageClassName": "by-hand", "resources": {"requests": {"storage": "1Mi"}}}
    apply(cluster, namespace, claim("files", **small), claim("c", volumeMode="Block", **small))
    eventually(lambda: cluster.get("pvc", "c", "-n", namespace)["status"]["phase"] == "Bound")
    assert cluster.get("pvc", "files", "-n", namespace)["status"]["phase"] == "Pending"
    script = "echo -n hello > /dev/disk && sync && ls -l /dev/disk && sleep 1000"
    wrong = pod("wrong", "true", of_claim("c"))
    apply(cluster, namespace, with_device(pod("p", script, of_claim("c"))), wrong)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/p", "-n", namespace, "--timeout=30s")
    log = eventually(lambda: cluster.kubectl("logs", "p", "-n", namespace))
    assert log.startswith("b") and (tmp_path / "disk").read_bytes().startswith(b"hello")
    words = "volume data has volumeMode Block, but is specified in volumeMounts"
    eventually(lambda: words in cluster.kubectl("describe", "pod", "wrong", "-n", namespace))
    cluster.kubectl("delete", "pod/p", "pod/wrong", "pvc/c", "pvc/files", "-n", namespace)
    cluster.kubectl("delete", "pv", meta["name"])


def test_an_ephemeral_volume_comes_and_goes_with_its_pod(cluster: LocalCluster, namespace: str) -> None:
    own = {"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": claim("x")["spec"]}}}
    apply(cluster, namespace, pod("p", "touch /data/x; sleep 1000", own))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/p", "-n", namespace, "--timeout=30s")
    assert cluster.get("pvc", "p-data", "-n", namespace)["metadata"]["ownerReferences"][0]["name"] == "p"
    cluster.kubectl("delete", "pod", "p", "-n", namespace)
    cluster.kubectl("wait", "--for=delete", "pvc/p-data", "-n", namespace, "--timeout=30s")


def test_a_claim_that_cannot_be_met_says_why(cluster: LocalCluster, namespace: str) -> None:
    apply(cluster, namespace, claim("c", storageClassName="nowhere"), pod("p", "sleep 1000", of_claim("c")))
    words = eventually(lambda: cluster.kubectl("get", "events", "-n", namespace, "-o", "jsonpath={..message}"))
    eventually(lambda: "nowhere" in cluster.kubectl("describe", "pvc", "c", "-n", namespace))
    eventually(
        lambda: "unbound immediate PersistentVolumeClaims" in cluster.kubectl("describe", "pod", "p", "-n", namespace)
    )
    assert words


@pytest.mark.skipif(RUNTIME == "containerd", reason="Debian's containerd 1.6 has no image volumes")
def test_an_image_is_a_read_only_volume(cluster: LocalCluster, namespace: str) -> None:
    image = {"name": "data", "image": {"reference": "kubeto/busybox:1", "pullPolicy": "IfNotPresent"}}
    apply(cluster, namespace, pod("p", "ls /data; touch /data/x || echo refused; sleep 1000", image))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/p", "-n", namespace, "--timeout=30s")
    words = eventually(lambda: (log := cluster.kubectl("logs", "p", "-n", namespace)) and "refused" in log and log)
    assert "bin" in words.split()
