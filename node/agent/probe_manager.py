"""Probes the containers of one pod in time, counts successes and failures, and says when a result changes.

A readiness probe begins as failed, a startup probe as not started; liveness and readiness wait until the container has
started. When the readiness or startup of a container flips, the pod's worker is woken at once.
Source: kubelet ``prober/worker.go``.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from apimachinery.client.events import EventRecorder
from node.agent.images import pod_reference
from node.agent.pod_state import (
    ContainerView,
    Object,
    PodRuntime,
    ProbeResults,
    init_containers,
    is_sidecar,
    regular_containers,
)
from node.agent.probes import Prober, first_delay

_TRIES: Final = 3  # of a probe that cannot be made; then it waits for its next turn, and counts for nothing
_RESULTS: Final = {True: "successful", False: "failed", None: "unknown"}
KINDS: Final = (("startup", "startupProbe"), ("liveness", "livenessProbe"), ("readiness", "readinessProbe"))


@dataclass(slots=True)
class _Count:
    """Results in a row of one probe. ``passed`` is None before the first verdict."""

    probe: Object
    successes: int = 0
    failures: int = 0
    passed: bool | None = None

    def take(self, ok: bool) -> bool:
        """Count one result; whether the verdict changed."""
        self.successes, self.failures = (self.successes + 1, 0) if ok else (0, self.failures + 1)
        before = self.passed
        if ok and self.successes >= int(self.probe.get("successThreshold") or 1):
            self.passed = True
        elif not ok and self.failures >= int(self.probe.get("failureThreshold") or 3):
            self.passed = False
        return self.passed != before


class PodProbes:
    """The probes of one pod. ``changed`` is called when what ``results`` gives has changed."""

    def __init__(
        self,
        prober: Prober,
        recorder: EventRecorder,
        changed: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._prober, self._recorder, self._changed, self._sleep = prober, recorder, changed, sleep
        self._counts: dict[tuple[str, str], _Count] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self.totals: Counter[tuple[str, str, str]] = Counter()
        """How often there was a result, by container, kind of probe and result."""

    def sync(self, pod: Object, runtime: PodRuntime, *, ending: bool = False) -> ProbeResults:
        """Probe exactly the running containers that have probes; what is known of them now."""
        wanted: dict[tuple[str, str], tuple[Object, ContainerView]] = {}
        sidecars = [c for c in init_containers(pod) if is_sidecar(c)]
        for spec in (*regular_containers(pod), *sidecars):
            view = runtime.latest(spec["name"])
            if view is None or not view.running:
                continue
            for kind, field in KINDS:
                if spec.get(field) and not (ending and kind != "readiness"):
                    wanted[view.id, kind] = (spec, view)
        for key in self._tasks.keys() - wanted.keys():
            self._tasks.pop(key).cancel()
            self._counts.pop(key, None)
        pod_ip = self._address(pod, runtime)
        for key, (spec, view) in wanted.items():
            if key not in self._tasks:
                self._start(key, pod, spec, view, pod_ip)
        return self.results()

    @staticmethod
    def _address(pod: Object, runtime: PodRuntime) -> str:
        sandbox = runtime.sandbox
        if sandbox is not None and sandbox.ips:
            return sandbox.ips[0]
        return "127.0.0.1" if pod["spec"].get("hostNetwork") else ""

    def results(self) -> ProbeResults:
        counts = self._counts.items()
        return ProbeResults(
            unready=frozenset(cid for (cid, kind), c in counts if kind == "readiness" and c.passed is not True),
            not_started=frozenset(cid for (cid, kind), c in counts if kind == "startup" and c.passed is not True),
            failed={cid: kind for (cid, kind), c in counts if kind != "readiness" and c.passed is False},
        )

    def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self._counts.clear()

    def _start(self, key: tuple[str, str], pod: Object, spec: Object, view: ContainerView, pod_ip: str) -> None:
        probe = spec[dict(KINDS)[key[1]]]
        self._counts[key] = _Count(probe)
        self._tasks[key] = asyncio.create_task(
            self._run(key, pod, spec, view, pod_ip), name=f"probe-{key[1]}-{view.name}"
        )

    async def _run(self, key: tuple[str, str], pod: Object, spec: Object, view: ContainerView, pod_ip: str) -> None:
        """Probe one container in one way until cancelled, or until it is clear that it has started or must go."""
        count, kind = self._counts[key], key[1]
        probe = count.probe
        period = int(probe.get("periodSeconds") or 10)
        await self._sleep(first_delay(probe, view.started_at, time.time()))
        while True:
            if kind == "startup" or (view.id, "startup") not in self._waiting():
                await self._once(count, kind, pod, spec, view, pod_ip)
                if count.passed is not None and (kind == "startup" or (kind == "liveness" and not count.passed)):
                    return
            # A container that just started is looked at again soon: readiness should not wait a whole period.
            await self._sleep(min(period, 1.0) if count.passed is None and kind == "readiness" else period)

    def _waiting(self) -> set[tuple[str, str]]:
        return {key for key, c in self._counts.items() if key[1] == "startup" and c.passed is not True}

    async def _once(
        self, count: _Count, kind: str, pod: Object, spec: Object, view: ContainerView, pod_ip: str
    ) -> None:
        for _ in range(_TRIES):
            outcome = await self._prober.probe(count.probe, spec, view.id, pod_ip)
            if outcome.ok is not None:
                break
        self.totals[view.name, kind, _RESULTS[outcome.ok]] += 1
        if not outcome.ok:
            what = "failed" if outcome.ok is not None else "errored and resulted in unknown state"
            message = f"{kind.capitalize()} probe {what}: {outcome.message}"
            self._recorder.event(pod_reference(pod, view.name), "Warning", "Unhealthy", message)
        if outcome.ok is not None and count.take(outcome.ok):
            self._changed()
