"""kubeto-cri-docker while its engine is killed and started again. The engine is one of the test's own."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from protos.cri.runtime.v1 import api_pb2 as cri
from tests.docker_runtime import Shim, connected, engine_is_here

pytestmark = [pytest.mark.docker, pytest.mark.root]
IMAGES = ["kubeto/pause:2", "kubeto/busybox:1"]


class OwnEngine:
    """A dockerd beside the machine's, on the same containerd, with folders, a socket and a network of its own: with
    ``--bridge=none`` it would take the machine's docker0 away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        self.network = f"crih-engine-{os.getpid()}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.folder / "pid").unlink(missing_ok=True)
        command = [
            "nsenter",
            f"--net=/run/netns/{self.network}",
            "dockerd",
            "--data-root",
            str(self.folder / "data"),
            "--exec-root",
            str(self.folder / "exec"),
        ]
        command += ["-H", self.host, "--pidfile", str(self.folder / "pid"), "--bridge=none", "--iptables=false"]
        command += ["--ip-forward=false", "--ip-masq=false", "--containerd-namespace", f"kd{os.getpid()}"]
        command += ["--containerd-plugins-namespace", f"kdp{os.getpid()}", "--containerd", containerd_socket()]
        with open(self.folder / "dockerd.log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while self.docker("info", check=False).returncode:
            assert time.monotonic() < deadline, (self.folder / "dockerd.log").read_text()[-2000:]
            time.sleep(0.1)

    def kill(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)
        self.process.wait(30)

    def docker(
        self, *arguments: str, check: bool = True, data: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["docker", "-H", self.host, *arguments], check=check, capture_output=True, input=data)


def containerd_socket() -> str:
    found = [
        p
        for p in ("/var/run/docker/containerd/containerd.sock", "/run/containerd/containerd.sock")
        if os.path.exists(p)
    ]
    if not found:
        pytest.skip("no containerd for an engine of our own")
    return found[0]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[OwnEngine]:
    if not engine_is_here():
        pytest.skip("needs root, Docker and the test images")
    own = OwnEngine(tmp_path / "engine")
    own.folder.mkdir()
    subprocess.run(["ip", "netns", "add", own.network], check=True)
    own.start()
    saved = subprocess.run(["docker", "save", *IMAGES], check=True, capture_output=True).stdout
    own.docker("load", data=saved)
    yield own
    ids = own.docker("ps", "-aq", check=False).stdout.decode().split()
    if ids:
        own.docker("rm", "-f", *ids, check=False)
    own.kill(signal.SIGTERM)
    for mounted in (own.folder / "exec" / "netns" / "default", own.folder / "data"):
        subprocess.run(["umount", str(mounted)], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", own.network], check=True)


@pytest.fixture
def shim(engine: OwnEngine, tmp_path: Path) -> Iterator[Shim]:
    shim = Shim(tmp_path, "cni", docker_host=engine.host)
    shim.prepare()
    shim.start()
    yield shim
    shim.clean_up()


async def test_the_engine_is_killed_and_comes_back(engine: OwnEngine, shim: Shim) -> None:
    async with connected(shim) as client:
        config = client.pod()
        sandbox = await client.run_pod(config)
        container = await client.run(sandbox, client.container(["/bin/sh", "-c", "echo before; sleep 1000"]))
        engine.kill(signal.SIGKILL)
        await until_code(lambda: client.status(container), grpc.StatusCode.UNAVAILABLE)
        status = await client.runtime.Status(cri.StatusRequest())
        assert [c.type for c in status.status.conditions if not c.status] == ["RuntimeReady"]
        engine.start()
        await until_code(lambda: client.status(container), grpc.StatusCode.OK)
        assert (await client.status(container)).state == cri.CONTAINER_EXITED
        told = await client.runtime.PodSandboxStatus(cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox))
        assert told.status.state == cri.SANDBOX_NOTREADY
        await client.remove_pod(sandbox)
        assert shim.addresses() == set()
        config.metadata.attempt = 1
        again = await client.run_pod(config)
        assert await client.output(again, client.container(["/bin/echo", "after"], "d")) == "after\n"
        await client.remove_pod(again)
    assert engine.docker("ps", "-aq").stdout == b""


async def test_the_engine_hangs_for_a_while(engine: OwnEngine, shim: Shim) -> None:
    async with connected(shim) as client:
        sandbox = await client.run_pod(client.pod())
        container = await client.run(sandbox, client.container(["/bin/sleep", "1000"]))
        assert engine.process and (await client.status(container)).state == cri.CONTAINER_RUNNING
        engine.process.send_signal(signal.SIGSTOP)
        try:
            listed = await client.runtime.ListContainers(cri.ListContainersRequest())
            assert [c.state for c in listed.containers] == [cri.CONTAINER_RUNNING]
            stop = cri.StopContainerRequest(container_id=container, timeout=0)
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await client.runtime.StopContainer(stop, timeout=1)
            assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        finally:
            engine.process.send_signal(signal.SIGCONT)
        await client.runtime.StopContainer(stop, timeout=20)
        assert (await client.ended(container)).exit_code == 137
        await client.remove_pod(sandbox)
        assert shim.addresses() == set()
    assert engine.docker("ps", "-aq").stdout == b""


async def until_code(call: object, wanted: grpc.StatusCode) -> None:
    assert callable(call)
    async with asyncio.timeout(20):
        while True:
            try:
                await call()
                code = grpc.StatusCode.OK
            except grpc.aio.AioRpcError as error:
                code = error.code()
            if code == wanted:
                return
            await asyncio.sleep(0.05)
