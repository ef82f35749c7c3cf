"""The way from the API server to node agents: one gRPC channel an address, mTLS, errors translated.

An agent's address is its Node's InternalIP and kubelet endpoint port. Hollow nodes share an address, so a request
names its node and the certificate is checked against a name that all agents carry.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import orjson

from apimachinery import errors, scheme
from apimachinery.agents import AgentChannels, agent_address
from apimachinery.config import ClusterAccess

from ..registry.reader import Reader

if TYPE_CHECKING:
    from protos.kubeto.v1.node_pb2_grpc import NodeAgentAsyncStub

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


def agent_access(certificate: str, key: str, authority: str) -> ClusterAccess:
    """From the PEM files of ``--kubelet-client-certificate``, ``--kubelet-client-key`` and
    ``--kubelet-certificate-authority``. Raises OSError."""
    ca, certificate_pem, key_pem = (Path(path).read_bytes() for path in (authority, certificate, key))
    return ClusterAccess("", ca, certificate_pem, key_pem, "", False, "")


class NodeAgents:
    """Channels are opened on first use and kept; gRPC reconnects them by itself."""

    def __init__(self, reader: Reader, access: ClusterAccess | None) -> None:
        self._reader = reader
        self._channels = AgentChannels(access) if access else None

    def stub(self, node: str) -> "NodeAgentAsyncStub":
        """The agent of ``node``. Raises NotFound, or ServiceUnavailable for a node that tells no address."""
        found = self._reader.get(scheme.NODES, "", node)
        if found is None:
            raise errors.NotFound(f'nodes "{node}" not found', name=node, kind="nodes")
        address = agent_address(found)
        if not address:
            raise errors.ServiceUnavailable(f'node "{node}" has no InternalIP address', name=node, kind="nodes")
        if self._channels is None:
            raise errors.ServiceUnavailable("this API server was started without --kubelet-client-certificate")
        return self._channels.stub(address)

    async def close(self) -> None:
        if self._channels is not None:
            await self._channels.close()


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
