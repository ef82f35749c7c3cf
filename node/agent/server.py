"""The gRPC server of a node process: ``kubeto.v1.NodeAgent`` for each node that the process holds.

Only the cluster's own components may call, known by their client certificates. An API error travels as gRPC status
with the Status in trailing metadata ``kubeto-status-bin``; that of a terminal is its last message.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import grpc
import orjson
from cryptography import x509
from cryptography.x509.oid import NameOID
from grpc import aio

from apimachinery.errors import ApiError, BadRequest, Forbidden, InternalError, NotFound
from node.agent import local_volumes, streaming
from node.agent.local_node import LocalNode
from node.agent.log_files import LogOptions, read_log
from node.agent.pod_state import Object
from node.agent.times import parse_rfc3339
from node.cri.runtime import RuntimeFault
from protos.cri.runtime.v1 import api_pb2 as cri
from protos.kubeto.v1 import node_pb2 as pb
from protos.kubeto.v1 import node_pb2_grpc as rpc

ALLOWED_NAMES: Final = frozenset(
    {"kube-apiserver-kubelet-client", "system:kube-controller-manager", "system:kube-scheduler"}
)
ALLOWED_GROUPS: Final = frozenset({"system:masters", "kubeto:node-clients"})
_STATUS_TRAILER: Final = "kubeto-status-bin"
_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    501: grpc.StatusCode.UNIMPLEMENTED,
}
_STREAMS: Final = {"": "", "All": "", "Stdout": "stdout", "Stderr": "stderr"}
_LEAST_INTERVAL: Final = 0.2
_Context = aio.ServicerContext


class NodeAgentService(rpc.NodeAgentServicer):
    """Answers for the nodes of ``nodes`` (by name)."""

    def __init__(self, nodes: Mapping[str, LocalNode], check_callers: bool = True) -> None:
        self._nodes, self._check = nodes, check_callers

    async def Health(self, request: pb.HealthRequest, context: Any) -> pb.HealthReply:  # noqa: N802
        await self._authorize(context)
        names = list(request.nodes) or list(self._nodes)
        return pb.HealthReply(nodes=[self._health(name) for name in names])

    def _health(self, name: str) -> pb.NodeHealth:
        node = self._nodes.get(name)
        if node is None:
            return pb.NodeHealth(node=name, healthy=False, message="this process does not hold the node")
        problem = node.problem()
        return pb.NodeHealth(node=name, healthy=not problem, message=problem)

    async def WatchLoad(self, request: pb.WatchLoadRequest, context: Any) -> AsyncIterator[pb.LoadReply]:  # noqa: N802
        await self._authorize(context)
        while True:
            names = list(request.nodes) or list(self._nodes)
            yield pb.LoadReply(loads=[self._nodes[n].load() for n in names if n in self._nodes])
            await asyncio.sleep(max(request.interval_seconds, _LEAST_INTERVAL))

    async def Stats(self, request: pb.StatsRequest, context: Any) -> pb.StatsReply:  # noqa: N802
        await self._authorize(context)
        try:
            summary = await self._node(request.node).stats.summary(request.node_only)
        except ApiError as error:
            await _abort(context, error)
        return pb.StatsReply(json=orjson.dumps(summary))

    async def Metrics(self, request: pb.MetricsRequest, context: Any) -> pb.MetricsReply:  # noqa: N802
        await self._authorize(context)
        try:
            node = self._node(request.node)
            if request.cadvisor:
                text = await node.cadvisor()
            else:
                text = node.metrics.probes() if request.probes else await node.metrics.text()
        except (ApiError, RuntimeFault) as error:
            await _abort(context, _as_api_error(error))
        return pb.MetricsReply(text=text)

    async def Logs(self, request: pb.LogsRequest, context: Any) -> AsyncIterator[pb.LogsReply]:  # noqa: N802
        await self._authorize(context)
        try:
            node = self._node(request.node)
            path, container = await node.log_of(request)
            async for data in read_log(path, _log_options(request), lambda: node.is_running(container)):
                yield pb.LogsReply(data=data)
        except (ApiError, RuntimeFault, OSError) as error:
            await _abort(context, _as_api_error(error))

    async def Exec(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.TerminalOutput]:  # noqa: N802
        async for message in self._terminal(request_iterator, context, attach=False):
            yield message

    async def Attach(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.TerminalOutput]:  # noqa: N802
        async for message in self._terminal(request_iterator, context, attach=True):
            yield message

    async def _terminal(
        self, inputs: AsyncIterator[pb.TerminalInput], context: Any, attach: bool
    ) -> AsyncIterator[pb.TerminalOutput]:
        await self._authorize(context)
        try:
            open_ = (await anext(inputs)).open
            node = self._node(open_.node)
            container = await node.running_container(open_.namespace, open_.pod, open_.pod_uid, open_.container)
            url = await (_attach_url(node, open_, container) if attach else _exec_url(node, open_, container))
            async for message in streaming.terminal(url, open_, inputs):
                yield message
        except StopAsyncIteration:
            yield streaming.failure(BadRequest("the stream ended before it was opened"))
        except (ApiError, RuntimeFault, OSError) as error:
            yield streaming.failure(_as_api_error(error))

    async def PortForward(  # noqa: N802
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[pb.PortForwardData]:
        await self._authorize(context)
        try:
            open_ = (await anext(request_iterator)).open
            node = self._node(open_.node)
            sandbox = await node.sandbox_of(open_.namespace, open_.pod, open_.pod_uid)
            url = await node.runtime.port_forward_url(sandbox, open_.port)
            async for message in streaming.port_forward(url, open_.port, request_iterator):
                yield message
        except StopAsyncIteration:
            yield pb.PortForwardData(error="the stream ended before it was opened")
        except (ApiError, RuntimeFault, OSError) as error:
            yield pb.PortForwardData(error=str(error))

    async def MakeLocalVolume(self, request: pb.LocalVolumeRequest, context: Any) -> pb.LocalVolumeReply:  # noqa: N802
        return await self._local_volume(local_volumes.make, request, context)

    async def RemoveLocalVolume(  # noqa: N802
        self, request: pb.LocalVolumeRequest, context: Any
    ) -> pb.LocalVolumeReply:
        return await self._local_volume(local_volumes.remove, request, context)

    async def _local_volume(
        self, verb: Callable[[str, str], str], request: pb.LocalVolumeRequest, context: Any
    ) -> pb.LocalVolumeReply:
        await self._authorize(context)
        try:
            path = await asyncio.to_thread(verb, self._node(request.node).local_volumes, request.name)
        except ApiError as error:
            await _abort(context, error)
        return pb.LocalVolumeReply(path=path)

    def _node(self, name: str) -> LocalNode:
        try:
            return self._nodes[name]
        except KeyError:
            raise NotFound(f"node {name!r} is not held by this process", kind="nodes", name=name) from None

    async def _authorize(self, context: Any) -> None:
        """Let only the cluster's own components in."""
        if not self._check:
            return
        names, groups = peer_identity(context.auth_context())
        if not (names & ALLOWED_NAMES or groups & ALLOWED_GROUPS):
            who = ", ".join(sorted(names)) or "an unknown caller"
            await _abort(context, Forbidden(f"{who} may not call node agents"))


def peer_identity(auth_context: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Common names and organizations of the caller's certificate."""
    names: set[str] = set()
    groups: set[str] = set()
    for pem in auth_context.get("x509_pem_cert") or ():
        subject = x509.load_pem_x509_certificate(pem).subject
        names |= {str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
        groups |= {str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)}
    return names, groups


async def _exec_url(node: LocalNode, open_: pb.TerminalOpen, container: str) -> str:
    request = cri.ExecRequest(
        container_id=container,
        cmd=open_.command,
        tty=open_.tty,
        stdin=open_.stdin,
        stdout=open_.stdout,
        stderr=open_.stderr and not open_.tty,
    )
    return await node.runtime.exec_url(request)


async def _attach_url(node: LocalNode, open_: pb.TerminalOpen, container: str) -> str:
    request = cri.AttachRequest(
        container_id=container,
        tty=open_.tty,
        stdin=open_.stdin,
        stdout=open_.stdout,
        stderr=open_.stderr and not open_.tty,
    )
    return await node.runtime.attach_url(request)


def _log_options(request: pb.LogsRequest) -> LogOptions:
    since = 0.0
    if request.HasField("since_seconds"):
        since = time.time() - request.since_seconds
    elif request.since_time:
        since = parse_rfc3339(request.since_time)
    return LogOptions(
        follow=request.follow,
        timestamps=request.timestamps,
        tail_lines=request.tail_lines if request.HasField("tail_lines") else None,
        limit_bytes=request.limit_bytes if request.HasField("limit_bytes") else None,
        since=since,
        stream=_STREAMS.get(request.stream, ""),
    )


def _as_api_error(error: Exception) -> ApiError:
    return error if isinstance(error, ApiError) else InternalError(str(error))


async def _abort(context: Any, error: ApiError) -> Any:
    status: Object = error.to_status()
    code = _CODES.get(error.status_code, grpc.StatusCode.INTERNAL)
    await context.abort(code, error.message, ((_STATUS_TRAILER, orjson.dumps(status)),))
