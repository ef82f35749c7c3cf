"""A real kubeto-cri-docker on the real engine for tests: in a network namespace of its own where it has CNI.

Every shim has its own node name, so tests neither see nor touch anybody else's containers.
"""

import asyncio
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from protos.cri.runtime.v1 import api_pb2 as cri
from protos.cri.runtime.v1 import api_pb2_grpc

IMAGE = "kubeto/busybox:1"
_START_SECONDS = 20.0


@functools.cache
def engine_is_here() -> bool:
    """Docker answers, this is root, and the test images are there: they are made if they are not."""
    if os.geteuid() != 0 or shutil.which("docker") is None or shutil.which("busybox") is None:
        return False
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
        return False
    script = Path(__file__).parents[1] / "deploy" / "example-images.sh"
    return subprocess.run([script], capture_output=True, check=False).returncode == 0


@dataclass
class Shim:
    """One shim's process and its folders. It may be killed and started again."""

    folder: Path
    network: str = "loopback"
    node: str = field(default_factory=lambda: f"kd-{uuid.uuid4().hex[:8]}")
    process: subprocess.Popen[bytes] | None = None
    docker_host: str = "unix:///var/run/docker.sock"
    host_network_container: str = ""

    @property
    def socket(self) -> str:
        return f"unix://{self.folder}/cri.sock"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def prepare(self) -> None:
        _ip("netns", "add", self.node)
        _ip("-n", self.node, "link", "set", "lo", "up")
        plugin = {
            "type": "bridge",
            "bridge": "cbr0",
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.27.9.0/24"}]],
                "dataDir": str(self.folder / "ipam"),
            },
        }
        (self.folder / "net.d").mkdir(parents=True)
        conflist = {"cniVersion": "1.0.0", "name": "kd", "plugins": [plugin]}
        (self.folder / "net.d" / "10-kd.conflist").write_text(json.dumps(conflist))

    def start(self) -> None:
        command = [
            *(("nsenter", f"--net=/run/netns/{self.node}") if self.network == "cni" else ()),
            *(sys.executable, "-m", "node.cri_docker"),
            *(
                "--host-network-container",
                self.host_network_container,
                "--docker-host",
                self.docker_host,
                "--listen",
                self.socket,
                "--state-dir",
                str(self.folder / "state"),
                "--node-name",
                self.node,
            ),
            *("--sandbox-network", self.network, "--cni-conf-dir", str(self.folder / "net.d"), "--v", "4"),
        ]
        with open(self.folder / "shim.log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def clean_up(self) -> None:
        self.end()
        _ip("netns", "delete", self.node)

    def end(self) -> None:
        """Stop it and remove what it has left."""
        self.kill(signal.SIGTERM)
        engine = ["docker", "-H", self.docker_host]
        listing = [*engine, "ps", "-aq", "--filter", f"label=io.kubeto.node={self.node}"]
        left = subprocess.run(listing, capture_output=True, text=True, check=False).stdout.split()
        if left:
            subprocess.run([*engine, "rm", "-f", *left], capture_output=True, check=False)
        for mounted in (self.folder / "state" / "images").glob("*"):
            subprocess.run(["umount", str(mounted)], capture_output=True, check=False)

    def addresses(self) -> set[str]:
        """Those given to sandboxes and not given back."""
        folder = self.folder / "ipam" / "kd"
        return {p.name for p in folder.glob("10.*")} if folder.is_dir() else set()


@dataclass
class Cri:
    """The shim as a kubelet sees it."""

    runtime: "api_pb2_grpc.RuntimeServiceAsyncStub"
    images: "api_pb2_grpc.ImageServiceAsyncStub"
    logs: Path

    def pod(self, name: str = "pod", **options: object) -> cri.PodSandboxConfig:
        uid = str(uuid.uuid4())
        (self.logs / uid).mkdir(parents=True)
        metadata = cri.PodSandboxMetadata(name=name, uid=uid, namespace="default")
        config = cri.PodSandboxConfig(metadata=metadata, log_directory=str(self.logs / uid), **options)  # type: ignore[arg-type]
        config.linux.security_context.namespace_options.pid = cri.CONTAINER
        return config

    async def run_pod(self, config: cri.PodSandboxConfig) -> str:
        return (await self.runtime.RunPodSandbox(cri.RunPodSandboxRequest(config=config))).pod_sandbox_id

    async def remove_pod(self, sandbox: str) -> None:
        await self.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=sandbox))
        await self.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox))

    def container(self, command: Sequence[str], name: str = "c", **options: object) -> cri.ContainerConfig:
        metadata, image = cri.ContainerMetadata(name=name), cri.ImageSpec(image=IMAGE)
        config = cri.ContainerConfig(metadata=metadata, image=image, command=command, log_path=f"{name}.log")
        config.linux.security_context.namespace_options.pid = cri.CONTAINER
        config.MergeFrom(cri.ContainerConfig(**options))  # type: ignore[arg-type]
        return config

    async def run(self, sandbox: str, config: cri.ContainerConfig) -> str:
        created = await self.runtime.CreateContainer(cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=config))
        await self.runtime.StartContainer(cri.StartContainerRequest(container_id=created.container_id))
        return created.container_id

    async def status(self, container: str) -> cri.ContainerStatus:
        return (await self.runtime.ContainerStatus(cri.ContainerStatusRequest(container_id=container))).status

    async def ended(self, container: str) -> cri.ContainerStatus:
        async with asyncio.timeout(20):
            while (status := await self.status(container)).state != cri.CONTAINER_EXITED:
                await asyncio.sleep(0.02)
        return status

    async def output(self, sandbox: str, config: cri.ContainerConfig) -> str:
        """Run a container to its end: what it printed, without times and tags."""
        status = await self.ended(await self.run(sandbox, config))
        return "".join(content for _, _, content in log_lines(status.log_path))

    async def exec(self, container: str, *command: str) -> str:
        request = cri.ExecSyncRequest(container_id=container, cmd=command, timeout=10)
        return (await self.runtime.ExecSync(request)).stdout.decode()


def log_lines(path: str) -> list[tuple[str, str, str]]:
    """(stream, tag, content) of a log in the CRI's format; a full line's content ends with its newline."""
    found = []
    for line in Path(path).read_text().splitlines():
        _, stream, tag, content = line.split(" ", 3)
        found.append((stream, tag, content + "\n" if tag == "F" else content))
    return found


@contextlib.asynccontextmanager
async def connected(shim: Shim) -> AsyncIterator[Cri]:
    """Wait until the shim answers; its services."""
    async with grpc.aio.insecure_channel(shim.socket.replace("unix://", "unix:")) as channel:
        runtime = api_pb2_grpc.RuntimeServiceStub(channel)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                await runtime.Version(cri.VersionRequest())
                break
            except grpc.aio.AioRpcError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)
        yield Cri(runtime, api_pb2_grpc.ImageServiceStub(channel), shim.folder / "logs")


@contextlib.contextmanager
def running_shim(folder: Path, network: str = "loopback") -> Iterator[Shim]:
    shim = Shim(folder, network)
    shim.prepare()
    shim.start()
    try:
        yield shim
    finally:
        shim.clean_up()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
