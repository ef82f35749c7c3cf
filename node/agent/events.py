"""Tells the workers that something changed in the runtime: the pod lifecycle event generator (PLEG).

It says only *which pod* changed, never what: the worker looks. Events of the runtime (GetContainerEvents) are the
fast path; a relist finds what they missed, every half minute, or every second with a runtime that has no events. It
cannot see a container that started and ended between two relists otherwise than by its remains. Source: kubelet
``pleg/generic.go``.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from apimachinery.backoff import Backoff
from apimachinery.logging import get_logger
from node.agent.metrics import AgentMetrics
from node.agent.pod_state import POD_UID
from node.agent.settings import AgentSettings
from node.cri.runtime import Runtime, RuntimeFault, RuntimeUnimplemented

_log = get_logger(__name__)
_RELIST_SECONDS: Final = 10.0
_Snapshot = dict[str, tuple[str, int]]


class RuntimeWatch:
    """Watches one runtime. ``changed`` gets the uid of a pod."""

    def __init__(
        self, runtime: Runtime, settings: AgentSettings, changed: Callable[[str], None], metrics: AgentMetrics
    ) -> None:
        self._runtime, self._changed, self._metrics = runtime, changed, metrics
        self._interval = settings.relist_interval
        self._without_events = settings.relist_interval_without_events
        self._seen: _Snapshot = {}
        self.healthy = False
        """Whether the last relist succeeded."""

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stream(), name="runtime-events")
            group.create_task(self._relists(), name="runtime-relist")

    async def _stream(self) -> None:
        backoff = Backoff(initial=0.2, maximum=5.0)
        while True:
            try:
                async for event in self._runtime.events():
                    backoff.reset()
                    uid = event.pod_sandbox_status.labels.get(POD_UID)
                    if uid:
                        self._changed(uid)
            except RuntimeUnimplemented:
                _log.info("The runtime has no events, relisting instead", seconds=self._without_events)
                self._interval = self._without_events
                return
            except RuntimeFault as fault:
                _log.debug("The runtime's events broke off", error=str(fault))
            await asyncio.sleep(backoff.next())
            await self._relist()

    async def _relists(self) -> None:
        while True:
            await self._relist()
            await asyncio.sleep(self._interval if self.healthy else min(self._interval, 1.0))

    async def _relist(self) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(_RELIST_SECONDS):
                now = await self.snapshot()
        except (RuntimeFault, TimeoutError) as fault:
            if self.healthy:
                _log.warning("The runtime does not answer", error=str(fault) or f"nothing within {_RELIST_SECONDS} s")
            self.healthy = False
            return
        self.healthy = True
        self._metrics.relisted(time.monotonic() - began)
        before, self._seen = self._seen, now
        for uid in {uid for _, (uid, _) in set(before.items()) ^ set(now.items())}:
            self._changed(uid)

    async def snapshot(self) -> _Snapshot:
        """Everything the runtime holds: id -> (pod uid, state)."""
        sandboxes, containers = await asyncio.gather(
            self._runtime.list_pod_sandboxes({}), self._runtime.list_containers({})
        )
        found: _Snapshot = {s.id: (s.labels.get(POD_UID, ""), int(s.state)) for s in sandboxes}
        found |= {c.id: (c.labels.get(POD_UID, ""), int(c.state)) for c in containers}
        return {key: value for key, value in found.items() if value[0]}
