"""The CSI drivers that have registered at this node, and calls to them.

Every call has a deadline, and nothing here retries: the agent's workers do. Source: ``pkg/volume/csi/csi_client.go``.
"""

import asyncio
from typing import Any, Final

import grpc
from grpc import aio

from node.agent.volumes.volume import VolumeError
from node.cri.client import OPTIONS, fault
from protos.csi.v1 import csi_pb2 as pb
from protos.csi.v1 import csi_pb2_grpc as rpc

CALL_SECONDS: Final = 120.0
Capability = pb.NodeServiceCapability.RPC


class DriverError(VolumeError):
    """A driver has refused a call, does not answer, or is not there."""


class Driver:
    """The Node service of one driver."""

    def __init__(self, name: str, endpoint: str) -> None:
        self.name, self.endpoint = name, endpoint
        self._channel = aio.insecure_channel(f"unix://{endpoint}", options=OPTIONS)
        self._stub = rpc.NodeStub(self._channel)
        self._capabilities: frozenset[int] | None = None

    async def call(self, verb: str, request: Any, seconds: float = CALL_SECONDS) -> Any:
        """The reply to an RPC such as ``NodeStageVolume``. Raises DriverError."""
        try:
            async with asyncio.timeout(seconds + 1):  # a deadline of gRPC's does not count while it connects
                return await getattr(self._stub, verb)(request, timeout=seconds)
        except grpc.RpcError as error:
            raise DriverError(str(fault(error))) from error
        except TimeoutError as error:
            raise DriverError(f"{verb}: no answer from driver {self.name} within {seconds:.0f} s") from error

    async def capabilities(self) -> frozenset[int]:
        """What its node service can do (``Capability.STAGE_UNSTAGE_VOLUME``...), asked for once."""
        if self._capabilities is None:
            reply = await self.call("NodeGetCapabilities", pb.NodeGetCapabilitiesRequest())
            self._capabilities = frozenset(c.rpc.type for c in reply.capabilities)
        return self._capabilities

    async def close(self) -> None:
        await self._channel.close(None)


class Drivers:
    """The registered drivers by name."""

    def __init__(self) -> None:
        self._drivers: dict[str, Driver] = {}

    def get(self, name: str) -> Driver:
        """Raises DriverError if it is not registered (yet, or any more)."""
        if name not in self._drivers:
            raise DriverError(f"driver name {name} not found in the list of registered CSI drivers")
        return self._drivers[name]

    async def put(self, driver: Driver) -> None:
        """Register a driver in the place of whatever had its name. Its calls fail, and are made again."""
        old, self._drivers[driver.name] = self._drivers.get(driver.name), driver
        if old is not None:
            await old.close()

    async def remove(self, name: str) -> None:
        if name in self._drivers:
            await self._drivers.pop(name).close()

    async def close(self) -> None:
        for name in list(self._drivers):
            await self.remove(name)
