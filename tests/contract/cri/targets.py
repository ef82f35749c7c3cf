"""The runtimes that the validation specs run on: kubeto-cri-docker, containerd and the fake.

The first two share a network namespace of their own, with our CNI plugin in it, that a tiny container owns as it does
in a cluster; the tests enter it too, for pods' addresses and the streaming servers are reached only from there.
"""

import contextlib
import ctypes
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from cli.up import containerd
from cli.up.config import ClusterConfig
from node.agent import cni_conf
from protos.cri.runtime.v1 import api_pb2 as cri
from protos.cri.runtime.v1 import api_pb2_grpc
from tests.contract.cri.registry import Registry
from tests.docker_runtime import Shim

_PROJECT = str(Path(__file__).parents[3])
_CLONE_NEWNET = 0x40000000
_START_SECONDS, _CALL_SECONDS = 20.0, 30.0


@dataclass(frozen=True)
class Target:
    """One runtime under test."""

    name: str
    runtime: api_pb2_grpc.RuntimeServiceStub
    images: api_pb2_grpc.ImageServiceStub
    registry: Registry | None
    folder: Path
    netns: str
    shared: list[Any] = field(default_factory=list)
    """The pod that specs share, once there is one."""

    def image(self, name: str) -> str:
        """The reference of one of the registry's images."""
        return f"127.0.0.1:{self.registry.port}/{name}" if self.registry else name

    def forget_images(self) -> None:
        """Take the registry's images away again."""
        for image in self.images.ListImages(cri.ListImagesRequest()).images if self.registry else ():
            if any(f":{self.registry.port}/" in name for name in (*image.repo_tags, *image.repo_digests)):
                self.images.RemoveImage(cri.RemoveImageRequest(image=cri.ImageSpec(image=image.id)))


@dataclass(frozen=True)
class Node:
    """A network namespace, and the container that owns it."""

    name: str
    container: str

    @property
    def netns(self) -> str:
        return f"/run/netns/{self.name}"


@contextlib.contextmanager
def own_node() -> Iterator[Node]:
    name = f"crih-{uuid.uuid4().hex[:6]}"
    command = ["docker", "run", "-d", "--network=none", "--label=crih", f"--name={name}", "kubeto/pause:2"]
    container = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        inspect = ["docker", "inspect", "--format={{.State.Pid}}", container]
        pid = subprocess.run(inspect, check=True, capture_output=True, text=True).stdout.strip()
        subprocess.run(["ip", "netns", "attach", name, pid], check=True)
        yield Node(name, container)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        subprocess.run(["docker", "rm", "-f", container], check=False, capture_output=True)


@contextlib.contextmanager
def inside(netns: str) -> Iterator[None]:
    """This thread, and those it starts, in another network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as before, open(netns, "rb") as other:
        assert libc.setns(other.fileno(), _CLONE_NEWNET) == 0
        try:
            yield
        finally:
            assert libc.setns(before.fileno(), _CLONE_NEWNET) == 0


@contextlib.contextmanager
def cri_docker(node: Node, folder: Path) -> Iterator[str]:
    """The shim's socket."""
    shim = Shim(folder, "cni", node=node.name, host_network_container=node.container)
    write_network(folder / "net.d", "10.217.1.0/24", folder / "ipam")
    shim.start()
    try:
        yield shim.socket.removeprefix("unix://")
    finally:
        shim.end()


@contextlib.contextmanager
def own_containerd(node: Node, folder: Path) -> Iterator[str]:
    """The socket of a containerd with folders of its own."""
    config = ClusterConfig(str(folder))
    config.run.mkdir()
    containerd.write_configuration(config, node.name)
    state, socket = config.data / "nodes" / node.name, str(config.run / f"{node.name}.sock")
    write_network(state / "cni", "10.217.2.0/24", folder / "ipam", bridge="cbr1")
    with open(folder / "containerd.log", "wb") as log:
        command = ["nsenter", f"--net={node.netns}", "containerd", "--config", str(state / "containerd.toml")]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": _PROJECT})
    try:
        wait_for(socket)
        containerd.import_images(config, node.name)
        yield socket
        containerd.remove_pods(socket)
    finally:
        process.terminate()
        process.wait(20)


def write_network(folder: Path, subnet: str, data: Path, bridge: str = "cbr0") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / cni_conf.FILE_NAME).write_text(cni_conf.conflist(subnet, str(data)).replace("cbr0", bridge))


def wait_for(socket: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with contextlib.closing(channel(socket)) as opened:
        runtime = api_pb2_grpc.RuntimeServiceStub(opened)
        while True:
            try:
                runtime.Version(cri.VersionRequest(), timeout=5)
                return
            except grpc.RpcError:
                assert time.monotonic() < deadline, f"nobody answers at {socket}"
                time.sleep(0.05)


def channel(socket: str) -> grpc.Channel:
    # Go's servers refuse the percent-encoded path that a unix socket's authority would be.
    opened = grpc.insecure_channel(f"unix:{socket}", options=[("grpc.default_authority", "localhost")])
    return grpc.intercept_channel(opened, _Deadline())


class _Deadline(grpc.UnaryUnaryClientInterceptor):
    """No call without one."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        if details.timeout is None:
            details = details._replace(timeout=_CALL_SECONDS)
        return continuation(details, request)
