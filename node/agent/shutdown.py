"""Graceful node shutdown: the machine waits while the node's pods are ended, the least important first.

While the node shuts down it is not ready and takes no pod. What logind says now counts, so an agent that is restarted
meanwhile goes on. Where no logind is (containers, most local clusters), that is said once, and a shutdown is sudden.
Source: kubelet ``nodeshutdown/``; KEP-2000, KEP-2712.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import orjson

from apimachinery import whole_file
from apimachinery.config import ConfigError
from apimachinery.logging import get_logger
from node.agent.cri_configs import grace_period
from node.agent.node_services import NodeServices
from node.agent.pod_state import Object, pod_key, uid_of
from node.agent.resources import CRITICAL_PRIORITY
from node.agent.settings import Period
from node.agent.status import TERMINATED_BY_KUBELET, Verdict

if TYPE_CHECKING:
    from node.agent.logind import Logind

_log = get_logger(__name__)
_RECONNECT_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.05
_MESSAGE: Final = "Pod was terminated in response to imminent node shutdown."
REFUSED: Final = Verdict("Failed", "NodeShutdown", "Pod was rejected as the node is shutting down.")


def periods(total: float, critical: float, by_priority: Mapping[int, int]) -> tuple[Period, ...]:
    """The settings as periods, lowest priority first; none = no graceful shutdown. Raises ConfigError."""
    if by_priority:
        if total or critical:
            raise ConfigError("--shutdown-grace-period and --shutdown-grace-period-by-pod-priority exclude each other")
        return tuple(sorted(Period(p, s) for p, s in by_priority.items()))
    if critical > total:
        raise ConfigError("--shutdown-grace-period-critical-pods is longer than --shutdown-grace-period")
    if any(0 < seconds < 1 for seconds in (total, critical)):
        raise ConfigError("--shutdown-grace-period and --shutdown-grace-period-critical-pods are 0 or at least 1s")
    return (Period(0, int(total - critical)), Period(CRITICAL_PRIORITY, int(critical))) if total else ()


def groups(given: Sequence[Period], pods: Iterable[Object]) -> list[tuple[Period, list[Object]]]:
    """Who ends when; those below the lowest priority go with it."""
    out: list[tuple[Period, list[Object]]] = [(period, []) for period in given]
    for pod in pods:
        priority = int(pod["spec"].get("priority") or 0)
        index = sum(period.priority <= priority for period in given) - 1
        out[max(index, 0)][1].append(pod)
    return [(period, members) for period, members in out if members]


class EndablePods(Protocol):
    """What the manager needs of the node's pods."""

    def unfinished(self) -> list[Object]: ...
    def end(self, uid: str, verdict: Verdict) -> None: ...
    def at_rest(self, uid: str) -> bool: ...


class ShutdownManager:
    """``run`` it; ``facts.shutting_down`` tells the others. ``changed`` makes the node report itself."""

    def __init__(self, services: NodeServices, pods: EndablePods, changed: Callable[[], None]) -> None:
        self._services, self._pods, self._changed = services, pods, changed
        self._periods = services.settings.shutdown_periods
        self._signals: asyncio.Queue[bool] = asyncio.Queue()
        self._ending: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until cancelled; at once when there is no logind."""
        from node.agent.logind import LogindError

        known = False
        while True:
            try:
                logind = await self._connect()
                known = True
                await self._follow(logind)
            except LogindError as error:
                if not known:
                    _log.warning("No graceful node shutdown: logind cannot be used", error=str(error))
                    return
                _log.warning("Lost logind, trying again", error=str(error))
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _connect(self) -> "Logind":
        """With the lock held and the present state queued."""
        from node.agent.logind import Logind, LogindError

        logind = await Logind.connect(self._signals.put_nowait)
        try:
            await logind.allow_delay(sum(p.seconds for p in self._periods))
            await logind.inhibit()
            self._signals.put_nowait(await logind.preparing())
        except LogindError:
            logind.close()
            raise
        return logind

    async def _follow(self, logind: "Logind") -> None:
        """Act on logind's signals until the connection is gone."""
        gone = asyncio.create_task(logind.disconnected())
        try:
            while not gone.done():
                signal = asyncio.create_task(self._signals.get())
                await asyncio.wait({gone, signal}, return_when=asyncio.FIRST_COMPLETED)
                if signal.done():
                    await self._heard(signal.result(), logind)
                signal.cancel()
        finally:
            gone.cancel()
            if self._ending is not None:
                self._ending.cancel()
                self._ending = None
            logind.close()

    async def _heard(self, shutting_down: bool, logind: "Logind") -> None:
        if shutting_down == self._services.facts.shutting_down and (self._ending is not None or not shutting_down):
            return
        self._services.facts.shutting_down = shutting_down
        what = "event" if shutting_down else "cancellation"
        _log.warning(f"Node shutdown {what}")
        self._services.node_event("Normal", "NodeShutdown", f"Shutdown manager detected shutdown {what}")
        self._changed()
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if shutting_down:
            self._ending = asyncio.create_task(self._end_pods(logind))
        else:
            await logind.inhibit()

    async def _end_pods(self, logind: "Logind") -> None:
        started = time.time()
        self._keep({"startTime": started})
        try:
            for period, pods in groups(self._periods, self._pods.unfinished()):
                await self._end_group(period, pods)
            self._keep({"startTime": started, "endTime": time.time()})
            _log.info("Pods ended, the node may shut down")
        finally:
            logind.release()

    async def _end_group(self, period: Period, pods: list[Object]) -> None:
        """Returns when all have ended and said so, or their time is over."""
        for pod in pods:
            grace = min(grace_period(pod), period.seconds)
            verdict = Verdict("Failed", "Terminated", _MESSAGE, grace=grace, disruption=TERMINATED_BY_KUBELET)
            _log.info("Ending pod for shutdown", pod=pod_key(pod), seconds=grace)
            self._pods.end(uid_of(pod), verdict)
        try:
            async with asyncio.timeout(period.seconds):
                while not all(self._pods.at_rest(uid_of(pod)) for pod in pods):
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            left = [pod_key(p) for p in pods if not self._pods.at_rest(uid_of(p))]
            _log.warning("Pods have not ended in time", seconds=period.seconds, pods=left)

    def _keep(self, state: Mapping[str, float]) -> None:
        path = os.path.join(self._services.settings.root_dir, "graceful_node_shutdown_state")
        try:
            whole_file.replace(path, orjson.dumps(state))
        except OSError as error:
            _log.warning("Shutdown not recorded", error=str(error))
