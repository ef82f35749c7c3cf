"""Serves any ``Runtime`` as CRI ``runtime.v1`` over gRPC: how the in-memory fake gets a unix socket.

The table below is the whole mapping from CRI's calls to ``Runtime``; a call that is not in it answers
UNIMPLEMENTED, as gRPC does by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from grpc import aio

from node.cri.client import OPTIONS
from node.cri.runtime import (
    Runtime,
    RuntimeDeadline,
    RuntimeFault,
    RuntimeNotFound,
    RuntimeUnavailable,
    RuntimeUnimplemented,
)
from protos.cri.runtime.v1 import api_pb2 as pb

Call = Callable[[Runtime, Any], Awaitable[Message]]
_CODES: Final[Mapping[type[RuntimeFault], grpc.StatusCode]] = {
    RuntimeNotFound: grpc.StatusCode.NOT_FOUND,
    RuntimeUnimplemented: grpc.StatusCode.UNIMPLEMENTED,
    RuntimeDeadline: grpc.StatusCode.DEADLINE_EXCEEDED,
    RuntimeUnavailable: grpc.StatusCode.UNAVAILABLE,
}


async def _run_sandbox(rt: Runtime, q: pb.RunPodSandboxRequest) -> Message:
    return pb.RunPodSandboxResponse(pod_sandbox_id=await rt.run_pod_sandbox(q.config, q.runtime_handler))


async def _stop_sandbox(rt: Runtime, q: pb.StopPodSandboxRequest) -> Message:
    await rt.stop_pod_sandbox(q.pod_sandbox_id)
    return pb.StopPodSandboxResponse()


async def _remove_sandbox(rt: Runtime, q: pb.RemovePodSandboxRequest) -> Message:
    await rt.remove_pod_sandbox(q.pod_sandbox_id)
    return pb.RemovePodSandboxResponse()


async def _sandbox_status(rt: Runtime, q: pb.PodSandboxStatusRequest) -> Message:
    return pb.PodSandboxStatusResponse(status=await rt.pod_sandbox_status(q.pod_sandbox_id))


async def _list_sandboxes(rt: Runtime, q: pb.ListPodSandboxRequest) -> Message:
    items = await rt.list_pod_sandboxes(q.filter.label_selector)
    state = q.filter.state.state if q.filter.HasField("state") else None
    wanted = [s for s in items if q.filter.id in ("", s.id) and state in (None, s.state)]
    return pb.ListPodSandboxResponse(items=wanted)


async def _create(rt: Runtime, q: pb.CreateContainerRequest) -> Message:
    created = await rt.create_container(q.pod_sandbox_id, q.config, q.sandbox_config)
    return pb.CreateContainerResponse(container_id=created)


async def _start(rt: Runtime, q: pb.StartContainerRequest) -> Message:
    await rt.start_container(q.container_id)
    return pb.StartContainerResponse()


async def _stop(rt: Runtime, q: pb.StopContainerRequest) -> Message:
    await rt.stop_container(q.container_id, q.timeout)
    return pb.StopContainerResponse()


async def _remove(rt: Runtime, q: pb.RemoveContainerRequest) -> Message:
    await rt.remove_container(q.container_id)
    return pb.RemoveContainerResponse()


async def _list(rt: Runtime, q: pb.ListContainersRequest) -> Message:
    items = await rt.list_containers(q.filter.label_selector)
    state = q.filter.state.state if q.filter.HasField("state") else None
    wanted = [
        c
        for c in items
        if q.filter.id in ("", c.id) and q.filter.pod_sandbox_id in ("", c.pod_sandbox_id) and state in (None, c.state)
    ]
    return pb.ListContainersResponse(containers=wanted)


async def _container_status(rt: Runtime, q: pb.ContainerStatusRequest) -> Message:
    return pb.ContainerStatusResponse(status=await rt.container_status(q.container_id))


async def _update(rt: Runtime, q: pb.UpdateContainerResourcesRequest) -> Message:
    await rt.update_container_resources(q.container_id, q.linux)
    return pb.UpdateContainerResourcesResponse()


async def _reopen(rt: Runtime, q: pb.ReopenContainerLogRequest) -> Message:
    await rt.reopen_container_log(q.container_id)
    return pb.ReopenContainerLogResponse()


async def _exec_sync(rt: Runtime, q: pb.ExecSyncRequest) -> Message:
    result = await rt.exec_sync(q.container_id, q.cmd, q.timeout)
    return pb.ExecSyncResponse(exit_code=result.exit_code, stdout=result.stdout, stderr=result.stderr)


async def _update_config(rt: Runtime, q: pb.UpdateRuntimeConfigRequest) -> Message:
    await rt.update_pod_cidr(q.runtime_config.network_config.pod_cidr)
    return pb.UpdateRuntimeConfigResponse()


async def _container_stats(rt: Runtime, q: pb.ListContainerStatsRequest) -> Message:
    return pb.ListContainerStatsResponse(stats=await rt.list_container_stats(q.filter.label_selector))


async def _sandbox_stats(rt: Runtime, q: pb.ListPodSandboxStatsRequest) -> Message:
    return pb.ListPodSandboxStatsResponse(stats=await rt.list_pod_sandbox_stats(q.filter.label_selector))


async def _list_images(rt: Runtime, q: pb.ListImagesRequest) -> Message:
    return pb.ListImagesResponse(images=await rt.list_images())


async def _image_status(rt: Runtime, q: pb.ImageStatusRequest) -> Message:
    return pb.ImageStatusResponse(image=await rt.image_status(q.image.image))


async def _pull(rt: Runtime, q: pb.PullImageRequest) -> Message:
    return pb.PullImageResponse(image_ref=await rt.pull_image(q.image.image, q.auth, q.sandbox_config))


async def _remove_image(rt: Runtime, q: pb.RemoveImageRequest) -> Message:
    await rt.remove_image(q.image.image)
    return pb.RemoveImageResponse()


async def _fs_info(rt: Runtime, q: pb.ImageFsInfoRequest) -> Message:
    return pb.ImageFsInfoResponse(image_filesystems=await rt.image_fs_info())


async def _version(rt: Runtime, q: pb.VersionRequest) -> Message:
    return await rt.version()


async def _status(rt: Runtime, q: pb.StatusRequest) -> Message:
    return await rt.status()


_RUNTIME: Final[Mapping[str, tuple[type[Message], Call]]] = {
    "Version": (pb.VersionRequest, _version),
    "Status": (pb.StatusRequest, _status),
    "UpdateRuntimeConfig": (pb.UpdateRuntimeConfigRequest, _update_config),
    "RunPodSandbox": (pb.RunPodSandboxRequest, _run_sandbox),
    "StopPodSandbox": (pb.StopPodSandboxRequest, _stop_sandbox),
    "RemovePodSandbox": (pb.RemovePodSandboxRequest, _remove_sandbox),
    "PodSandboxStatus": (pb.PodSandboxStatusRequest, _sandbox_status),
    "ListPodSandbox": (pb.ListPodSandboxRequest, _list_sandboxes),
    "CreateContainer": (pb.CreateContainerRequest, _create),
    "StartContainer": (pb.StartContainerRequest, _start),
    "StopContainer": (pb.StopContainerRequest, _stop),
    "RemoveContainer": (pb.RemoveContainerRequest, _remove),
    "ListContainers": (pb.ListContainersRequest, _list),
    "ContainerStatus": (pb.ContainerStatusRequest, _container_status),
    "UpdateContainerResources": (pb.UpdateContainerResourcesRequest, _update),
    "ReopenContainerLog": (pb.ReopenContainerLogRequest, _reopen),
    "ExecSync": (pb.ExecSyncRequest, _exec_sync),
    "ListContainerStats": (pb.ListContainerStatsRequest, _container_stats),
    "ListPodSandboxStats": (pb.ListPodSandboxStatsRequest, _sandbox_stats),
}
_IMAGES: Final[Mapping[str, tuple[type[Message], Call]]] = {
    "ListImages": (pb.ListImagesRequest, _list_images),
    "ImageStatus": (pb.ImageStatusRequest, _image_status),
    "PullImage": (pb.PullImageRequest, _pull),
    "RemoveImage": (pb.RemoveImageRequest, _remove_image),
    "ImageFsInfo": (pb.ImageFsInfoRequest, _fs_info),
}


def _unary(runtime: Runtime, request: type[Message], call: Call) -> grpc.RpcMethodHandler[Any, Any]:
    async def handle(message: Any, context: aio.ServicerContext[Any, Any]) -> Message:
        try:
            return await call(runtime, message)
        except RuntimeFault as fault:
            await context.abort(_CODES.get(type(fault), grpc.StatusCode.UNKNOWN), str(fault))

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=request.FromString, response_serializer=lambda reply: reply.SerializeToString()
    )


def _events(runtime: Runtime) -> grpc.RpcMethodHandler[Any, Any]:
    async def handle(_: pb.GetEventsRequest, context: Any) -> AsyncIterator[pb.ContainerEventResponse]:
        async for event in runtime.events():
            yield event

    return grpc.unary_stream_rpc_method_handler(
        handle,
        request_deserializer=pb.GetEventsRequest.FromString,
        response_serializer=lambda reply: reply.SerializeToString(),
    )


def create_server(runtime: Runtime, address: str) -> aio.Server:
    """A gRPC server of both CRI services at ``address`` (``unix:///path``), not started yet."""
    server = aio.server(options=OPTIONS)
    calls = {name: _unary(runtime, *entry) for name, entry in _RUNTIME.items()}
    calls["GetContainerEvents"] = _events(runtime)
    images = {name: _unary(runtime, *entry) for name, entry in _IMAGES.items()}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("runtime.v1.RuntimeService", calls),
            grpc.method_handlers_generic_handler("runtime.v1.ImageService", images),
        )
    )
    server.add_insecure_port(address)
    return server
