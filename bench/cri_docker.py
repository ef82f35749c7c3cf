"""How quick a CRI runtime is, as a kubelet sees it: ``python -m bench.cri_docker unix:///run/x.sock [--pods 20]``.

Works on any CRI runtime that has the image. Prints one line a figure: name, median and maximum in milliseconds.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc

from protos.cri.runtime.v1 import api_pb2 as cri
from protos.cri.runtime.v1 import api_pb2_grpc

SINGLE_RUNS = 8
LISTS = 30


class Bench:
    def __init__(self, channel: grpc.aio.Channel, image: str, logs: Path) -> None:
        self.runtime = api_pb2_grpc.RuntimeServiceStub(channel)
        self.image, self.logs = image, logs
        self.figures: dict[str, list[float]] = {}

    async def timed(self, name: str, call: Callable[[], Awaitable[object]]) -> object:
        start = time.perf_counter()
        result = await call()
        self.figures.setdefault(name, []).append((time.perf_counter() - start) * 1000)
        return result

    async def up(self) -> tuple[str, str]:
        """One pod of one container; (sandbox, container)."""
        uid = str(uuid.uuid4())
        (self.logs / uid).mkdir()
        pod = cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name=f"bench-{uid[:8]}", namespace="bench", uid=uid),
            hostname="bench",
            log_directory=str(self.logs / uid),
            linux=cri.LinuxPodSandboxConfig(cgroup_parent="/bench"),
        )
        pod.linux.security_context.namespace_options.pid = cri.CONTAINER
        sandbox = (await self.runtime.RunPodSandbox(cri.RunPodSandboxRequest(config=pod))).pod_sandbox_id
        config = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="c"),
            image=cri.ImageSpec(image=self.image),
            command=["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"],
            log_path="c.log",
        )
        config.linux.security_context.namespace_options.pid = cri.CONTAINER
        request = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=config, sandbox_config=pod)
        container = (await self.runtime.CreateContainer(request)).container_id
        await self.runtime.StartContainer(cri.StartContainerRequest(container_id=container))
        return sandbox, container

    async def down(self, sandbox: str, container: str) -> None:
        await self.runtime.StopContainer(cri.StopContainerRequest(container_id=container, timeout=10))
        await self.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=sandbox))
        await self.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox))

    async def run(self, pods: int) -> None:
        for _ in range(SINGLE_RUNS):
            sandbox, container = await self._pod()
            await self.timed("pod down", lambda s=sandbox, c=container: self.down(s, c))
        start = time.perf_counter()
        made = await asyncio.gather(*(self.up() for _ in range(pods)))
        self.figures[f"{pods} pods at once, per pod"] = [(time.perf_counter() - start) * 1000 / pods]
        await self._looks(made[0][0], made[0][1])
        start = time.perf_counter()
        await asyncio.gather(*(self.down(*pod) for pod in made))
        self.figures[f"{pods} pods down at once, per pod"] = [(time.perf_counter() - start) * 1000 / pods]

    async def _pod(self) -> tuple[str, str]:
        made = await self.timed("pod up", self.up)
        assert isinstance(made, tuple)
        return made

    async def _looks(self, sandbox: str, container: str) -> None:
        r = self.runtime
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "Version": lambda: r.Version(cri.VersionRequest()),
            "ListPodSandbox": lambda: r.ListPodSandbox(cri.ListPodSandboxRequest()),
            "ListContainers": lambda: r.ListContainers(cri.ListContainersRequest()),
            "PodSandboxStatus": lambda: r.PodSandboxStatus(cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox)),
            "ContainerStatus": lambda: r.ContainerStatus(cri.ContainerStatusRequest(container_id=container)),
            "ListContainerStats": lambda: r.ListContainerStats(cri.ListContainerStatsRequest()),
            "ListPodSandboxStats": lambda: r.ListPodSandboxStats(cri.ListPodSandboxStatsRequest()),
            "ExecSync true": lambda: r.ExecSync(cri.ExecSyncRequest(container_id=container, cmd=["/bin/true"])),
        }
        for name, call in calls.items():
            for _ in range(LISTS):
                await self.timed(name, call)


@asynccontextmanager
async def _bench(endpoint: str, image: str) -> AsyncIterator[Bench]:
    # Go's servers refuse the percent-encoded path that a unix socket's authority would be.
    options = [("grpc.default_authority", "localhost")]
    with tempfile.TemporaryDirectory() as logs:
        async with grpc.aio.insecure_channel(endpoint.replace("unix://", "unix:"), options=options) as channel:
            yield Bench(channel, image, Path(logs))


async def measure(endpoint: str, image: str, pods: int) -> dict[str, list[float]]:
    """Milliseconds by what was done; ``endpoint``: ``unix:///path``."""
    async with _bench(endpoint, image) as bench:
        await bench.run(pods)
        return bench.figures


async def together(endpoints: Sequence[str], image: str, pods: int) -> float:
    """Seconds until so many pods, made all at once, run on these runtimes by turns; they are taken away again."""
    async with AsyncExitStack() as stack:
        benches = [await stack.enter_async_context(_bench(endpoint, image)) for endpoint in endpoints]
        turns = [benches[number % len(benches)] for number in range(pods)]
        start = time.perf_counter()
        made = await asyncio.gather(*(bench.up() for bench in turns))
        seconds = time.perf_counter() - start
        await asyncio.gather(*(bench.down(*pod) for bench, pod in zip(turns, made, strict=True)))
    return seconds


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("endpoint")
    parser.add_argument("--pods", type=int, default=20)
    parser.add_argument("--image", default="kubeto/busybox:1")
    options = parser.parse_args()
    figures = await measure(options.endpoint, options.image, options.pods)
    for name, values in figures.items():
        print(f"{name:32} {statistics.median(values):8.1f} ms  (max {max(values):.1f})")


if __name__ == "__main__":
    asyncio.run(main())
