"""Asks each agent whether it lives, so that a dead one is seen long before its Lease runs out.

An agent counts as down after several failed calls in a row, and only if it has answered before: where this process
has no way to the agents at all, the Leases alone decide. One connection a distinct address.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import grpc

from apimachinery.agents import AgentChannels
from apimachinery.logging import get_logger
from protos.kubeto.v1 import node_pb2 as pb

_log = get_logger(__name__)
INTERVAL_SECONDS = 2.0
RETRY_SECONDS = 0.5  # between calls while one fails
TIMEOUT_SECONDS = 1.5
_LAG_SECONDS = 0.5  # a call that ends so long after its timeout tells of this process, not of the agent
FAILURES_TO_BE_DOWN = 3


@dataclass(slots=True)
class Probe:
    """``down_since`` is when the first of the failures was noticed (monotonic seconds); None while it answers."""

    answered: bool = False
    failures: int = 0
    failing_since: float = 0.0
    down_since: float | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def note(self, ok: bool, now: float) -> bool:
        """Take the outcome of a call. True if the agent went down or came back by it."""
        was_down = self.down_since is not None
        if ok:
            self.answered, self.failures, self.down_since = True, 0, None
            return was_down
        self.failures += 1
        if self.failures == 1:
            self.failing_since = now
        if self.answered and self.failures == FAILURES_TO_BE_DOWN:
            self.down_since = self.failing_since
            return True
        return False


class AgentHealth:
    """``changed(address)`` is called when an agent goes down or comes back."""

    def __init__(self, channels: AgentChannels, now: Callable[[], float], changed: Callable[[str], None]) -> None:
        self._channels, self._now, self._changed = channels, now, changed
        self._probes: dict[str, Probe] = {}

    def down_since(self, address: str) -> float | None:
        """Since when (monotonic seconds) the agent does not answer; None if it does or nothing is known."""
        probe = self._probes.get(address)
        return probe.down_since if probe else None

    async def watch(self, addresses: Iterable[str]) -> None:
        """Probe exactly these addresses from now on."""
        wanted = set(addresses)
        for address in set(self._probes) - wanted:
            self._stop(self._probes.pop(address))
        for address in wanted - set(self._probes):
            probe = self._probes[address] = Probe()
            probe.task = asyncio.create_task(self._follow(address, probe), name=f"health-{address}")
        await self._channels.keep(wanted)

    async def close(self) -> None:
        await self.watch(())

    def _stop(self, probe: Probe) -> None:
        if probe.task is not None:
            probe.task.cancel()

    async def _follow(self, address: str, probe: Probe) -> None:
        while True:
            started = self._now()
            ok = await self._ask(address)
            lagged = self._now() - started > TIMEOUT_SECONDS + _LAG_SECONDS
            if (ok or not lagged) and probe.note(ok, self._now()):
                _log.info("Agent answers again" if ok else "Agent does not answer", address=address)
                self._changed(address)
            await asyncio.sleep(INTERVAL_SECONDS if ok or not probe.answered else RETRY_SECONDS)

    async def _ask(self, address: str) -> bool:
        try:
            await self._channels.stub(address).Health(pb.HealthRequest(), timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            _log.debug("Health call failed", address=address, error=str(error))
            return False
        return True
