"""How the API server, the controllers and the scheduler reach node agents over gRPC.

One channel a distinct address: hollow nodes share a process, and so a channel. The server is known by the DNS name
that every node certificate carries beside its node's own.
"""

from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from apimachinery.config import ClusterAccess
from apimachinery.rpc import CLIENT_OPTIONS, client_credentials
from protos.kubeto.v1.node_pb2_grpc import NodeAgentStub

if TYPE_CHECKING:  # exists in the type stubs only
    from protos.kubeto.v1.node_pb2_grpc import NodeAgentAsyncStub

Object = dict[str, Any]
SERVER_NAME = "kubeto-node"
DEFAULT_PORT = 10250


def agent_address(node: Object) -> str:
    """``host:port`` of a node's agent, "" while the node does not tell its address."""
    status = node.get("status") or {}
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or DEFAULT_PORT
    for address in status.get("addresses") or ():
        if address.get("type") == "InternalIP":
            host = address["address"]
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return ""


class AgentChannels:
    """Stubs by address. ``keep`` closes those that are no longer wanted; ``close`` all of them."""

    def __init__(self, access: ClusterAccess) -> None:
        self._credentials: grpc.ChannelCredentials = client_credentials(access)
        self._channels: dict[str, aio.Channel] = {}

    def stub(self, address: str) -> "NodeAgentAsyncStub":
        channel = self._channels.get(address)
        if channel is None:
            options = [*CLIENT_OPTIONS, ("grpc.ssl_target_name_override", SERVER_NAME)]
            channel = self._channels[address] = aio.secure_channel(address, self._credentials, options)
        return NodeAgentStub(channel)

    async def keep(self, addresses: set[str]) -> None:
        for address in set(self._channels) - addresses:
            await self._channels.pop(address).close(None)

    async def close(self) -> None:
        await self.keep(set())
