"""The way from the API server to node agents: one gRPC channel an address, mTLS, errors translated.

An agent's address is its Node's InternalIP and kubelet endpoint port. Hollow nodes share an address, so a request
names its node and the certificate is checked against a name that all agents carry.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import orjson

from apimachinery import errors, scheme
from apimachinery.rpc import CLIENT_OPTIONS, Options
from protos.kubeto.v1.node_pb2_grpc import NodeAgentStub

from ..registry.reader import Object, Reader

if TYPE_CHECKING:
    from protos.kubeto.v1.node_pb2_grpc import NodeAgentAsyncStub

AGENT_SERVER_NAME = "kubeto-node"
DEFAULT_PORT = 10250
STATUS_TRAILER = "kubeto-status-bin"
_T = TypeVar("_T")

_BY_CODE: dict[grpc.StatusCode, type[errors.ApiError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.BadRequest,
    grpc.StatusCode.FAILED_PRECONDITION: errors.BadRequest,
    grpc.StatusCode.OUT_OF_RANGE: errors.BadRequest,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.PERMISSION_DENIED: errors.Forbidden,
    grpc.StatusCode.UNIMPLEMENTED: errors.NotImplementedByServer,
    grpc.StatusCode.UNAVAILABLE: errors.ServiceUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.Timeout,
}


@dataclass(frozen=True, slots=True)
class AgentCredentials:
    """PEM files: ``--kubelet-client-certificate``, ``--kubelet-client-key``, ``--kubelet-certificate-authority``."""

    certificate: str
    key: str
    authority: str

    def load(self) -> grpc.ChannelCredentials:
        """Raises OSError."""
        authority, key, certificate = (Path(p).read_bytes() for p in (self.authority, self.key, self.certificate))
        return grpc.ssl_channel_credentials(authority, key, certificate)


class NodeAgents:
    """Channels are opened on first use and kept; gRPC reconnects them by itself."""

    def __init__(self, reader: Reader, credentials: AgentCredentials | None) -> None:
        self._reader = reader
        self._credentials = credentials.load() if credentials else None
        self._channels: dict[str, grpc.aio.Channel] = {}

    def stub(self, node: str) -> "NodeAgentAsyncStub":
        """The agent of ``node``. Raises NotFound, or ServiceUnavailable for a node that tells no address."""
        found = self._reader.get(scheme.NODES, "", node)
        if found is None:
            raise errors.NotFound(f'nodes "{node}" not found', name=node, kind="nodes")
        return NodeAgentStub(self._channel(node, agent_address(found)))

    def _channel(self, node: str, address: str) -> grpc.aio.Channel:
        if not address:
            raise errors.ServiceUnavailable(f'node "{node}" has no InternalIP address', name=node, kind="nodes")
        if self._credentials is None:
            raise errors.ServiceUnavailable("this API server was started without --kubelet-client-certificate")
        channel = self._channels.get(address)
        if channel is None:
            options: Options = [*CLIENT_OPTIONS, ("grpc.ssl_target_name_override", AGENT_SERVER_NAME)]
            channel = grpc.aio.secure_channel(address, self._credentials, options=options)
            self._channels[address] = channel
        return channel

    async def close(self) -> None:
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close(grace=None)


def agent_address(node: Object) -> str:
    """``host:port`` of a node's agent, "" while the node tells no address."""
    status = node.get("status") or {}
    host = next((a["address"] for a in status.get("addresses") or () if a.get("type") == "InternalIP"), "")
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or DEFAULT_PORT
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}") if host else ""


def agent_error(error: grpc.aio.AioRpcError, node: str) -> errors.ApiError:
    """The API error that a failed call to an agent tells of: its Status trailer, else one that fits its code."""
    trailer: Any
    for trailer in error.trailing_metadata() or ():
        if trailer[0] == STATUS_TRAILER:
            return errors.from_status(orjson.loads(trailer[1]))
    cls = _BY_CODE.get(error.code(), errors.InternalError)
    detail = error.details() or error.code().name
    if cls is errors.ServiceUnavailable:
        return cls(f'the agent of node "{node}" does not answer: {detail}')
    return cls(detail)


async def call(answer: Awaitable[_T], node: str) -> _T:
    """Await a unary call. Raises ApiError."""
    try:
        return await answer
    except grpc.aio.AioRpcError as error:
        raise agent_error(error, node) from error


async def stream(messages: AsyncIterable[_T], node: str) -> AsyncIterator[_T]:
    """The messages of a streaming call. Raises ApiError."""
    try:
        async for message in messages:
            yield message
    except grpc.aio.AioRpcError as error:
        raise agent_error(error, node) from error
