"""Pods by the bare engine: what it costs before anything of Kubernetes comes in.

On Docker the fewest calls of the plain SDK: a pause container, a CNI plugin by exec, a container that joins it.
On containerd the three CRI calls. Each node is a network namespace; all pods at once, as many threads or calls.
"""

import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import docker

from bench import cri_docker
from tests.contract.cri.targets import Node, own_containerd, own_node

CRI_IMAGE = "docker.io/kubeto/busybox:1"
_COMMAND = ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]


class PlainSdk:
    """One node's pods. ``folder`` keeps the addresses that are taken; ``at_once``: the threads that will call."""

    def __init__(self, node: Node, folder: Path, at_once: int) -> None:
        self._docker = docker.from_env(max_pool_size=2 * at_once)
        self._node = node
        ipam = {"type": "host-local", "ranges": [[{"subnet": "10.217.3.0/24"}]], "dataDir": str(folder)}
        plugin = {"cniVersion": "1.0.0", "name": "bench", "type": "bridge", "bridge": "cbr2", "isGateway": True}
        self._network = json.dumps(plugin | {"ipam": ipam}).encode()

    def up(self) -> tuple[str, str]:
        pause = self._docker.containers.run("kubeto/pause:2", detach=True, network_mode="none", labels=["crih"])
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


@contextmanager
def docker_nodes(nodes: int, pods: int) -> Iterator[Callable[[], float]]:
    """A function that makes the pods on so many nodes, takes them away again, and tells how long the making took."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(pods))
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(nodes)]
        sdks = [PlainSdk(stack.enter_context(own_node()), folder, pods) for folder in folders]

        def measure() -> float:
            began = time.monotonic()
            made = list(pool.map(lambda n: (sdks[n % nodes], sdks[n % nodes].up()), range(pods)))
            seconds = time.monotonic() - began
            list(pool.map(lambda pod: pod[0].down(pod[1]), made))
            return seconds

        yield measure


@contextmanager
def containerd_nodes(nodes: int, pods: int) -> Iterator[Callable[[], float]]:
    """The same on containerd, one for each node."""
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(nodes)]
        owned = [own_containerd(stack.enter_context(own_node()), folder) for folder in folders]
        endpoints = [f"unix://{stack.enter_context(engine)}" for engine in owned]
        yield lambda: asyncio.run(cri_docker.together(endpoints, CRI_IMAGE, pods))
