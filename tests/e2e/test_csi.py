"""A CSI driver on three real nodes: volumes are made, attached, mounted, moved, and survive what dies."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.local_cluster import LocalCluster
from tests.e2e.test_volumes import apply, claim, of_claim, pod, with_device
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root]
DRIVER = "csi.test"


@dataclass
class Driver:
    """The driver's processes, a node each, and those of its sidecars."""

    cluster: LocalCluster
    state: Path
    nodes: dict[str, Path]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"tests.fakes.{module}", f"--name={DRIVER}", f"--state={self.state}"]
        with (self.state / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen([*command, *arguments], stdout=log, stderr=log)

    def start_on(self, node: str) -> None:
        root = self.nodes[node]
        places = [f"--socket={root / 'csi.sock'}", f"--registry={root / 'plugins_registry'}"]
        self.start(node, "csi_driver", f"--node={node}", *places)

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes.pop(name).wait()

    def faults(self, **faults: str) -> None:
        (self.state / "faults").write_text(json.dumps(faults))

    def calls(self, verb: str) -> int:
        return sum(line.split()[1] == verb for line in (self.state / "calls").read_text().splitlines())

    def mounts(self) -> list[str]:
        return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.state) in line]


@pytest.fixture(scope="module")
def driver(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    state = tmp_path_factory.mktemp("csi")
    names = [n["metadata"]["name"] for n in cluster.get("nodes")["items"]]
    roots = {name: next(cluster.directory.glob(f"**/nodes/{name}")) for name in names}
    made = Driver(cluster, state, roots)
    about: Any = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}}
    about["spec"] = {"podInfoOnMount": True, "volumeLifecycleModes": ["Persistent", "Ephemeral"]}
    storage: Any = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "csi"}}
    storage |= {"provisioner": DRIVER, "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": True}
    apply(cluster, "default", about, storage)
    made.start("sidecars", "csi_sidecars", f"--kubeconfig={cluster.kubeconfig}")
    for name in names:
        made.start_on(name)
    for name in names:
        eventually(lambda name=name: DRIVER in json.dumps(cluster.get("csinode", name)["spec"]))
    yield made
    for name in list(made.processes):
        made.kill(name)
    cluster.kubectl("delete", "csidriver", DRIVER)
    cluster.kubectl("delete", "storageclass", "csi")


def ready(cluster: LocalCluster, namespace: str, name: str) -> None:
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "-n", namespace, "--timeout=60s")


def gone(cluster: LocalCluster, namespace: str, name: str) -> None:
    cluster.kubectl("delete", "pod", name, "-n", namespace, "--timeout=60s")


def on(node: str) -> dict[str, Any]:
    return {"nodeSelector": {"kubernetes.io/hostname": node}}


def events(cluster: LocalCluster, namespace: str, name: str) -> str:
    return cluster.kubectl("describe", "pod", name, "-n", namespace)


def test_data_go_with_their_pod_from_node_to_node(cluster: LocalCluster, namespace: str, driver: Driver) -> None:
    first, second, _ = driver.nodes
    apply(cluster, namespace, claim("c", storageClassName="csi"))
    apply(cluster, namespace, pod("one", "echo kept > /data/x; sleep 1000", of_claim("c"), **on(first)))
    ready(cluster, namespace, "one")
    volume = cluster.get("pvc", "c", "-n", namespace)["spec"]["volumeName"]
    summary = json.loads(cluster.kubectl("get", "--raw", f"/api/v1/nodes/{first}/proxy/stats/summary"))
    volumes = [v for p in summary["pods"] for v in p.get("volume", ()) if p["podRef"]["namespace"] == namespace]
    claimed = [(v["name"], v["pvcRef"]["name"], v["usedBytes"]) for v in volumes if "pvcRef" in v]
    assert claimed == [("data", "c", 30)]
    metrics = cluster.kubectl("get", "--raw", f"/api/v1/nodes/{first}/proxy/metrics").splitlines()
    assert f'kubelet_volume_stats_used_bytes{{namespace="{namespace}",persistentvolumeclaim="c"}} 30.0' in metrics
    assert any(line.startswith("kubelet_running_pods ") and line.split()[1] != "0.0" for line in metrics)
    assert any(
        line.startswith('kubelet_runtime_operations_total{operation_type="start_container"}') for line in metrics
    )
    attached = cluster.get("node", first)["status"]
    assert attached["volumesInUse"] == [v["name"] for v in attached["volumesAttached"]]
    apply(cluster, namespace, pod("two", "cat /data/x; sleep 1000", of_claim("c"), **on(second)))
    eventually(lambda: "Multi-Attach error" in events(cluster, namespace, "two"))
    gone(cluster, namespace, "one")
    ready(cluster, namespace, "two")
    eventually(lambda: cluster.kubectl("logs", "two", "-n", namespace) == "kept\n")
    assert [a["spec"]["nodeName"] for a in cluster.get("volumeattachments")["items"]] == [second]
    assert not cluster.get("node", first)["status"].get("volumesInUse")
    gone(cluster, namespace, "two")
    cluster.kubectl("delete", "pvc", "c", "-n", namespace, "--timeout=60s")
    cluster.kubectl("wait", "--for=delete", f"pv/{volume}", "--timeout=60s")
    assert not driver.mounts() and not list((driver.state / "attached").iterdir())


def test_an_agent_killed_while_a_volume_is_staged_goes_on(
    cluster: LocalCluster, namespace: str, driver: Driver
) -> None:
    node = next(iter(driver.nodes))
    driver.faults(NodeStageVolume="hang")
    before = driver.calls("NodeStageVolume")
    apply(cluster, namespace, claim("c", storageClassName="csi"), pod("p", "sleep 1000", of_claim("c"), **on(node)))
    apply(cluster, namespace, pod("other", "sleep 1000", **on(node)))
    eventually(lambda: driver.calls("NodeStageVolume") > before)
    ready(cluster, namespace, "other")  # nobody else waits for a driver that hangs
    agent = next(n for n in cluster.pids() if n.endswith(node) and "cri" not in n)
    os.kill(cluster.pids()[agent], signal.SIGKILL)
    driver.faults()
    ready(cluster, namespace, "p")
    gone(cluster, namespace, "p")
    gone(cluster, namespace, "other")
    eventually(lambda: not driver.mounts())


def test_a_driver_that_crashes_is_waited_for(cluster: LocalCluster, namespace: str, driver: Driver) -> None:
    node = next(iter(driver.nodes))
    apply(cluster, namespace, claim("c", storageClassName="csi"), pod("p", "sleep 1000", of_claim("c"), **on(node)))
    ready(cluster, namespace, "p")
    driver.kill(node)
    (driver.nodes[node] / "plugins_registry" / f"{DRIVER}.sock").unlink()
    eventually(lambda: not cluster.get("csinode", node)["spec"]["drivers"])
    apply(cluster, namespace, pod("q", "sleep 1000", of_claim("c"), **on(node)))
    words = "not found in the list of registered CSI drivers"
    eventually(lambda: words in events(cluster, namespace, "q"))
    cluster.kubectl("delete", "pod", "p", "-n", namespace, "--wait=false")
    driver.start_on(node)
    ready(cluster, namespace, "q")
    cluster.kubectl("wait", "--for=delete", "pod/p", "-n", namespace, "--timeout=60s")
    gone(cluster, namespace, "q")
    eventually(lambda: not driver.mounts())


def test_a_block_volume_is_a_device_in_the_container(cluster: LocalCluster, namespace: str, driver: Driver) -> None:
    node = next(iter(driver.nodes))
    apply(cluster, namespace, claim("c", storageClassName="csi", volumeMode="Block"))
    script = "echo -n kept | dd of=/dev/disk bs=512 conv=sync && stat -c %F /dev/disk; sleep 1000"
    apply(cluster, namespace, with_device(pod("p", script, of_claim("c"), **on(node))))
    ready(cluster, namespace, "p")
    eventually(lambda: "block special file" in cluster.kubectl("logs", "p", "-n", namespace))
    volume = cluster.get("pvc", "c", "-n", namespace)["spec"]["volumeName"]
    os.sync()
    assert (driver.state / "volumes" / volume / "disk").read_bytes().startswith(b"kept")
    gone(cluster, namespace, "p")
    eventually(lambda: str(driver.state) not in subprocess.check_output(["losetup", "-a"], text=True))
    script = "head -c4 /dev/disk; echo; dd if=/dev/zero of=/dev/disk count=1 || echo refused; sleep 1000"
    apply(cluster, namespace, with_device(pod("q", script, of_claim("c", readOnly=True), **on(node))))
    ready(cluster, namespace, "q")
    log = eventually(lambda: "refused" in (log := cluster.kubectl("logs", "q", "-n", namespace)) and log)
    assert "kept" in log  # the error output of dd may come first
    gone(cluster, namespace, "q")
    eventually(lambda: not driver.mounts())


def test_inline_and_growing_volumes(cluster: LocalCluster, namespace: str, driver: Driver) -> None:
    inline = {"name": "data", "csi": {"driver": DRIVER}}
    apply(cluster, namespace, pod("p", "touch /data/x; sleep 1000", inline))
    ready(cluster, namespace, "p")
    gone(cluster, namespace, "p")
    before = driver.calls("NodeExpandVolume")
    apply(cluster, namespace, claim("c", storageClassName="csi"), pod("q", "sleep 1000", of_claim("c")))
    ready(cluster, namespace, "q")
    larger = json.dumps({"spec": {"resources": {"requests": {"storage": "20Mi"}}}})
    cluster.kubectl("patch", "pvc", "c", "-n", namespace, "-p", larger)
    eventually(lambda: cluster.get("pvc", "c", "-n", namespace)["status"].get("conditions"))
    gone(cluster, namespace, "q")
    apply(cluster, namespace, pod("r", "sleep 1000", of_claim("c")))
    eventually(lambda: cluster.get("pvc", "c", "-n", namespace)["status"]["capacity"]["storage"] == "20Mi")
    assert driver.calls("NodeExpandVolume") == before + 1
    gone(cluster, namespace, "r")
    eventually(lambda: not driver.mounts())
