"""The CRI over a unix socket: ``Runtime`` spoken to containerd, CRI-O or kubeto-cri-docker.

Every call has a deadline. gRPC's failures become ``RuntimeFault``; nothing here retries, for the agent's
workers do. Source: k8s.io/cri-client ``remote_runtime.go`` (message size, which calls get which deadline).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Final, TypeVar

import grpc
import orjson
from google.protobuf.message import Message
from grpc import aio

from node.cri.runtime import (
    ExecResult,
    RuntimeDeadline,
    RuntimeFault,
    RuntimeNotFound,
    RuntimeUnavailable,
    RuntimeUnimplemented,
)
from protos.cri.runtime.v1 import api_pb2 as pb
from protos.cri.runtime.v1 import api_pb2_grpc as rpc

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
CALL_SECONDS: Final = 120.0
SANDBOX_SECONDS: Final = 240.0  # a sandbox may have to pull its image and wait for the network
PULL_SECONDS: Final = 1800.0
OPTIONS: Final = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # The :authority of a unix socket would be its percent-encoded path, which Go's servers refuse.
    ("grpc.default_authority", "localhost"),
)

_FAULTS: Final = {
    grpc.StatusCode.NOT_FOUND: RuntimeNotFound,
    grpc.StatusCode.UNIMPLEMENTED: RuntimeUnimplemented,
    grpc.StatusCode.DEADLINE_EXCEEDED: RuntimeDeadline,
    grpc.StatusCode.UNAVAILABLE: RuntimeUnavailable,
}
_Reply = TypeVar("_Reply", bound=Message)


def fault(error: grpc.RpcError) -> RuntimeFault:
    """The fault that a gRPC failure means."""
    if not isinstance(error, aio.AioRpcError):
        return RuntimeFault(str(error))
    return _FAULTS.get(error.code(), RuntimeFault)(f"rpc error: code = {_code(error)} desc = {error.details()}")


def _code(error: aio.AioRpcError) -> str:
    """``DEADLINE_EXCEEDED`` as Go prints it: ``DeadlineExceeded``."""
    return "".join(word.capitalize() for word in error.code().name.split("_"))


async def _ask(call: Awaitable[_Reply]) -> _Reply:
    try:
        return await call
    except grpc.RpcError as error:
        raise fault(error) from error


async def _within(call: Awaitable[_Reply], seconds: float) -> _Reply:
    """As _ask, bounded here too: a deadline in the channel is not enforced while it still connects."""
    try:
        async with asyncio.timeout(seconds + 1):
            return await _ask(call)
    except TimeoutError as error:
        raise RuntimeDeadline(f"no answer from the runtime within {seconds:.0f} s") from error


class CriClient:
    """A ``Runtime`` at an endpoint such as ``unix:///run/containerd/containerd.sock``."""

    def __init__(self, endpoint: str) -> None:
        target = endpoint if "://" in endpoint else f"unix://{endpoint}"
        self._channel = aio.insecure_channel(target, options=OPTIONS)
        self._runtime = rpc.RuntimeServiceStub(self._channel)
        self._images = rpc.ImageServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close(None)

    async def version(self) -> pb.VersionResponse:
        return await _ask(self._runtime.Version(pb.VersionRequest(version="v1"), timeout=CALL_SECONDS))

    async def status(self) -> pb.StatusResponse:
        return await _ask(self._runtime.Status(pb.StatusRequest(), timeout=CALL_SECONDS))

    async def update_pod_cidr(self, pod_cidr: str) -> None:
        config = pb.RuntimeConfig(network_config=pb.NetworkConfig(pod_cidr=pod_cidr))
        request = pb.UpdateRuntimeConfigRequest(runtime_config=config)
        await _ask(self._runtime.UpdateRuntimeConfig(request, timeout=CALL_SECONDS))

    async def events(self) -> AsyncIterator[pb.ContainerEventResponse]:
        try:
            async for event in self._runtime.GetContainerEvents(pb.GetEventsRequest()):
                yield event
        except grpc.RpcError as error:
            raise fault(error) from error

    async def run_pod_sandbox(self, config: pb.PodSandboxConfig, handler: str = "") -> str:
        request = pb.RunPodSandboxRequest(config=config, runtime_handler=handler)
        return (
            await _within(self._runtime.RunPodSandbox(request, timeout=SANDBOX_SECONDS), SANDBOX_SECONDS)
        ).pod_sandbox_id

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        request = pb.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
        await _tolerant(self._runtime.StopPodSandbox(request, timeout=CALL_SECONDS))

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        request = pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
        await _tolerant(self._runtime.RemovePodSandbox(request, timeout=CALL_SECONDS))

    async def pod_sandbox_status(self, sandbox_id: str) -> pb.PodSandboxStatus:
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
        return (await _ask(self._runtime.PodSandboxStatus(request, timeout=CALL_SECONDS))).status

    async def list_pod_sandboxes(self, labels: Mapping[str, str]) -> Sequence[pb.PodSandbox]:
        request = pb.ListPodSandboxRequest(filter=pb.PodSandboxFilter(label_selector=labels))
        return (await _ask(self._runtime.ListPodSandbox(request, timeout=CALL_SECONDS))).items

    async def create_container(
        self, sandbox_id: str, config: pb.ContainerConfig, sandbox_config: pb.PodSandboxConfig
    ) -> str:
        request = pb.CreateContainerRequest(pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox_config)
        return (await _ask(self._runtime.CreateContainer(request, timeout=CALL_SECONDS))).container_id

    async def start_container(self, container_id: str) -> None:
        request = pb.StartContainerRequest(container_id=container_id)
        await _ask(self._runtime.StartContainer(request, timeout=CALL_SECONDS))

    async def stop_container(self, container_id: str, timeout: int) -> None:
        request = pb.StopContainerRequest(container_id=container_id, timeout=timeout)
        await _tolerant(self._runtime.StopContainer(request, timeout=CALL_SECONDS + timeout))

    async def remove_container(self, container_id: str) -> None:
        request = pb.RemoveContainerRequest(container_id=container_id)
        await _tolerant(self._runtime.RemoveContainer(request, timeout=CALL_SECONDS))

    async def list_containers(self, labels: Mapping[str, str]) -> Sequence[pb.Container]:
        request = pb.ListContainersRequest(filter=pb.ContainerFilter(label_selector=labels))
        return (await _ask(self._runtime.ListContainers(request, timeout=CALL_SECONDS))).containers

    async def container_status(self, container_id: str) -> pb.ContainerStatus:
        request = pb.ContainerStatusRequest(container_id=container_id)
        return (await _ask(self._runtime.ContainerStatus(request, timeout=CALL_SECONDS))).status

    async def update_container_resources(self, container_id: str, resources: pb.LinuxContainerResources) -> None:
        request = pb.UpdateContainerResourcesRequest(container_id=container_id, linux=resources)
        await _ask(self._runtime.UpdateContainerResources(request, timeout=CALL_SECONDS))

    async def reopen_container_log(self, container_id: str) -> None:
        request = pb.ReopenContainerLogRequest(container_id=container_id)
        await _ask(self._runtime.ReopenContainerLog(request, timeout=CALL_SECONDS))

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout: int) -> ExecResult:
        """Run a command; ``timeout`` 0 means the general deadline. Raises RuntimeDeadline when it runs over."""
        request = pb.ExecSyncRequest(container_id=container_id, cmd=command, timeout=timeout)
        deadline = timeout + 10.0 if timeout else CALL_SECONDS
        reply = await _ask(self._runtime.ExecSync(request, timeout=deadline))
        return ExecResult(reply.exit_code, reply.stdout, reply.stderr)

    async def exec_url(self, request: pb.ExecRequest) -> str:
        return (await _ask(self._runtime.Exec(request, timeout=CALL_SECONDS))).url

    async def attach_url(self, request: pb.AttachRequest) -> str:
        return (await _ask(self._runtime.Attach(request, timeout=CALL_SECONDS))).url

    async def port_forward_url(self, sandbox_id: str, port: int) -> str:
        request = pb.PortForwardRequest(pod_sandbox_id=sandbox_id, port=[port])
        return (await _ask(self._runtime.PortForward(request, timeout=CALL_SECONDS))).url

    async def list_container_stats(self, labels: Mapping[str, str]) -> Sequence[pb.ContainerStats]:
        request = pb.ListContainerStatsRequest(filter=pb.ContainerStatsFilter(label_selector=labels))
        return (await _ask(self._runtime.ListContainerStats(request, timeout=CALL_SECONDS))).stats

    async def list_pod_sandbox_stats(self, labels: Mapping[str, str]) -> Sequence[pb.PodSandboxStats]:
        request = pb.ListPodSandboxStatsRequest(filter=pb.PodSandboxStatsFilter(label_selector=labels))
        return (await _ask(self._runtime.ListPodSandboxStats(request, timeout=CALL_SECONDS))).stats

    async def process_of(self, identity: str, *, sandbox: bool) -> int:
        info: Mapping[str, str]
        if sandbox:
            wanted = pb.PodSandboxStatusRequest(pod_sandbox_id=identity, verbose=True)
            info = (await _ask(self._runtime.PodSandboxStatus(wanted, timeout=CALL_SECONDS))).info
        else:
            request = pb.ContainerStatusRequest(container_id=identity, verbose=True)
            info = (await _ask(self._runtime.ContainerStatus(request, timeout=CALL_SECONDS))).info
        return int(orjson.loads(info.get("info") or "{}").get("pid") or 0)

    async def list_metric_descriptors(self) -> Sequence[pb.MetricDescriptor]:
        request = pb.ListMetricDescriptorsRequest()
        return (await _ask(self._runtime.ListMetricDescriptors(request, timeout=CALL_SECONDS))).descriptors

    async def list_pod_sandbox_metrics(self) -> Sequence[pb.PodSandboxMetrics]:
        request = pb.ListPodSandboxMetricsRequest()
        return (await _ask(self._runtime.ListPodSandboxMetrics(request, timeout=CALL_SECONDS))).pod_metrics

    async def list_images(self) -> Sequence[pb.Image]:
        return (await _ask(self._images.ListImages(pb.ListImagesRequest(), timeout=CALL_SECONDS))).images

    async def image_status(self, image: str) -> pb.Image | None:
        request = pb.ImageStatusRequest(image=pb.ImageSpec(image=image))
        reply = await _ask(self._images.ImageStatus(request, timeout=CALL_SECONDS))
        return reply.image if reply.HasField("image") and reply.image.id else None

    async def pull_image(self, image: str, auth: pb.AuthConfig | None, sandbox_config: pb.PodSandboxConfig) -> str:
        request = pb.PullImageRequest(image=pb.ImageSpec(image=image), auth=auth, sandbox_config=sandbox_config)
        return (await _ask(self._images.PullImage(request, timeout=PULL_SECONDS))).image_ref

    async def remove_image(self, image: str) -> None:
        request = pb.RemoveImageRequest(image=pb.ImageSpec(image=image))
        await _tolerant(self._images.RemoveImage(request, timeout=CALL_SECONDS))

    async def image_fs_info(self) -> Sequence[pb.FilesystemUsage]:
        return (await _ask(self._images.ImageFsInfo(pb.ImageFsInfoRequest(), timeout=CALL_SECONDS))).image_filesystems


async def _tolerant(call: Awaitable[_Reply]) -> None:
    """What stops or removes: absence is success."""
    try:
        await _ask(call)
    except RuntimeNotFound:
        return
