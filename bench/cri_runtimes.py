"""kubeto-cri-docker beside containerd and beside the plain Docker SDK, each in a network namespace of its own."""

import asyncio
import json
import os
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker

from bench import cri_docker
from bench.report import Figure
from tests.contract.cri.targets import Node, own_containerd, own_node, wait_for
from tests.contract.cri.targets import cri_docker as own_shim

PODS = 20
_GOALS = {
    "ListPodSandbox": 2.0,
    "ListContainers": 2.0,
    "PodSandboxStatus": 1.0,
    "ContainerStatus": 1.0,
    "ListContainerStats": 70.0,
}
_LIKE_THE_SDK = ("pod up", "pod down")
_IMAGE = "docker.io/kubeto/busybox:1"
_COMMAND = ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]


def run() -> list[Figure]:
    """Ours with its goals, then the peers' figures."""
    ours, theirs, sdk = _cri("docker"), _cri("containerd"), _plain_sdk()
    found = []
    for work, value in ours.items():
        goal = sdk.get(work) if work in _LIKE_THE_SDK else _GOALS.get(work)
        found.append(Figure(f"CRI on Docker, {PODS} pods: {work}", value, "ms", goal))
        for peer, figures in (("containerd", theirs), ("plain SDK", sdk)):
            if work in figures:
                found.append(Figure(f"  {peer}", figures[work], "ms"))
    return found


def _cri(kind: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, own_node() as node:
        start = own_shim if kind == "docker" else own_containerd
        with start(node, Path(folder)) as socket:
            wait_for(socket)
            figures = asyncio.run(cri_docker.measure(f"unix://{socket}", _IMAGE, PODS))
    return {work: statistics.median(values) for work, values in figures.items()}


def _plain_sdk() -> dict[str, float]:
    """The same pods by the fewest calls: a pause container, a CNI plugin by exec, a container that joins it."""
    with own_node() as node, tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(PODS) as pool:
        sdk = PlainSdk(node, folder)
        timed: dict[str, list[float]] = {"pod up": [], "pod down": []}
        for _ in range(cri_docker.SINGLE_RUNS):
            start = time.perf_counter()
            pod = sdk.up()
            timed["pod up"].append(time.perf_counter() - start)
            start = time.perf_counter()
            sdk.down(pod)
            timed["pod down"].append(time.perf_counter() - start)
        start = time.perf_counter()
        pods = list(pool.map(lambda _: sdk.up(), range(PODS)))
        timed[f"{PODS} pods at once, per pod"] = [(time.perf_counter() - start) / PODS]
        list(pool.map(sdk.down, pods))
    return {work: statistics.median(values) * 1000 for work, values in timed.items()}


class PlainSdk:
    def __init__(self, node: Node, folder: str) -> None:
        self._docker = docker.from_env(max_pool_size=2 * PODS)  # as many connections as threads
        self._node = node
        ipam = {"type": "host-local", "ranges": [[{"subnet": "10.217.3.0/24"}]], "dataDir": folder}
        plugin = {"cniVersion": "1.0.0", "name": "bench", "type": "bridge", "bridge": "cbr2", "isGateway": True}
        self._network = json.dumps(plugin | {"ipam": ipam}).encode()

    def up(self) -> tuple[str, str]:
        pause = self._docker.containers.run("kubeto/pause:1", detach=True, network_mode="none", labels=["crih"])
        self._cni("ADD", pause.id)
        joined = {"network_mode": f"container:{pause.id}", "ipc_mode": "private", "labels": ["crih"]}
        return pause.id, self._docker.containers.run("kubeto/busybox:1", _COMMAND, detach=True, **joined).id

    def down(self, pod: tuple[str, str]) -> None:
        pause, container = pod
        self._docker.api.stop(container, timeout=10)
        self._cni("DEL", pause)
        for identity in (container, pause):
            self._docker.api.remove_container(identity, force=True, v=True)

    def _cni(self, command: str, pause: str) -> None:
        pid = self._docker.api.inspect_container(pause)["State"]["Pid"]
        asked = {"COMMAND": command, "CONTAINERID": pause, "NETNS": f"/proc/{pid}/ns/net", "IFNAME": "eth0"}
        environment = os.environ | {f"CNI_{key}": value for key, value in (asked | {"PATH": "/usr/lib/cni"}).items()}
        plugin = ["nsenter", f"--net={self._node.netns}", "/usr/lib/cni/bridge"]
        subprocess.run(plugin, input=self._network, env=environment, check=True, capture_output=True)


def main() -> None:
    from bench.report import show

    show(run())


if __name__ == "__main__":
    main()
