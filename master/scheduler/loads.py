"""Keeps the live load of nodes in the snapshot, from the agents' ``WatchLoad`` streams: one a distinct address."""

import asyncio
import contextlib

import grpc

from apimachinery.agents import AgentChannels, agent_address
from apimachinery.backoff import Backoff
from apimachinery.logging import get_logger
from master.scheduler.snapshot import Snapshot
from protos.kubeto.v1 import node_pb2 as pb

_log = get_logger(__name__)
INTERVAL_SECONDS = 10.0
_LOOK_SECONDS = 5.0  # how often the list of addresses is compared with the nodes
_STEPS = 20  # loads are rounded to this part of the whole, so that noise changes no score


class LoadWatcher:
    """``run`` it beside the scheduler. An agent that does not answer only leaves its nodes without a figure."""

    def __init__(self, snapshot: Snapshot, channels: AgentChannels) -> None:
        self._snapshot, self._channels = snapshot, channels
        self._streams: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        try:
            while True:
                await self._match({agent_address(node) for node in self._snapshot.nodes if node is not None} - {""})
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            await self._match(set())

    async def _match(self, addresses: set[str]) -> None:
        for address in set(self._streams) - addresses:
            task = self._streams.pop(address)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for address in addresses - set(self._streams):
            self._streams[address] = asyncio.create_task(self._follow(address), name=f"load-{address}")
        await self._channels.keep(addresses)

    async def _follow(self, address: str) -> None:
        backoff = Backoff(initial=1.0, maximum=60.0)
        while True:
            try:
                request = pb.WatchLoadRequest(interval_seconds=INTERVAL_SECONDS)
                async for reply in self._channels.stub(address).WatchLoad(request):
                    backoff.reset()
                    for load in reply.loads:
                        self._take(load)
            except grpc.RpcError as error:
                _log.debug("No load from agent", address=address, error=str(error))
            await asyncio.sleep(backoff.next())

    def _take(self, load: pb.NodeLoad) -> None:
        total = load.memory_total_bytes or 1
        used = 1 - load.memory_available_bytes / total if load.memory_total_bytes else 0.0
        self._snapshot.set_load(load.node, round(max(load.cpu_fraction, used) * _STEPS) / _STEPS)
