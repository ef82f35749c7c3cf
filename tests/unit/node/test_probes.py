"""When probes are made, what counts as a verdict, and the command that an exec probe runs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from apimachinery.client.events import EventRecorder
from node.agent.pod_state import ContainerView, PodRuntime, SandboxView, State
from node.agent.probe_manager import PodProbes
from node.agent.probes import NetworkProber, Outcome
from node.cri.runtime import ExecResult, Runtime, RuntimeDeadline, RuntimeFault
from tests.waiting import until

Object = dict[str, Any]
RUNNING = ContainerView("c-0", "c", "s0", 0, State.RUNNING, started_at=1)
WELL, ILL, UNKNOWN = Outcome(True), Outcome(False, "no"), Outcome(None, "cannot be made")


def pod(**probes: Object) -> Object:
    container = {"name": "c", **{f"{kind}Probe": {"exec": {}, **probe} for kind, probe in probes.items()}}
    return {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"containers": [container]}}


def runtime(view: ContainerView = RUNNING) -> PodRuntime:
    return PodRuntime((SandboxView("s0", 0, True, ips=("10.0.0.1",)),), (view,))


class Script:
    """A prober that answers as it is told, and then not at all."""

    def __init__(self, *answers: Outcome) -> None:
        self.left = list(answers)
        self.waiting = 0

    async def probe(self, probe: Object, spec: Object, container_id: str, pod_ip: str) -> Outcome:
        if self.left:
            return self.left.pop(0)
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
        finally:
            self.waiting -= 1


class NoEvents:
    def event(self, *about: object) -> None: ...


@pytest.fixture
async def probing() -> AsyncIterator[Callable[[Script], PodProbes]]:
    made: list[PodProbes] = []

    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    def make(script: Script) -> PodProbes:
        made.append(PodProbes(script, cast(EventRecorder, NoEvents()), lambda: None, at_once))
        return made[-1]

    yield make
    for probes in made:
        probes.stop()


Probing = Callable[[Script], PodProbes]


async def test_a_probe_that_cannot_be_made_is_tried_thrice_and_then_counts_for_nothing(probing: Probing) -> None:
    script = Script(*[UNKNOWN] * 2, ILL, *[UNKNOWN] * 3, ILL)
    probes = probing(script)
    probes.sync(pod(liveness={"failureThreshold": 3}), runtime())
    await until(lambda: script.waiting)
    assert not probes.results().failed
    assert probes.totals == {("c", "liveness", "failed"): 2, ("c", "liveness", "unknown"): 1}
    script = Script(ILL, *[UNKNOWN] * 3, ILL)
    probes = probing(script)
    probes.sync(pod(liveness={"failureThreshold": 2}), runtime())
    await until(lambda: probes.results().failed)
    assert not script.left


async def test_what_has_failed_is_not_probed_any_more(probing: Probing) -> None:
    script = Script(ILL)
    probes = probing(script)
    probes.sync(pod(liveness={"failureThreshold": 1}), runtime())
    await until(lambda: probes.results().failed)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not script.waiting
    assert probes.sync(pod(liveness={"failureThreshold": 1}), runtime()).failed == {"c-0": "liveness"}


async def test_of_a_pod_that_is_ending_only_the_readiness_is_asked_for(probing: Probing) -> None:
    both, script = pod(liveness={}, readiness={}), Script()
    probes = probing(script)
    probes.sync(both, runtime())
    await until(lambda: script.waiting == 2)
    probes.sync(both, runtime(), ending=True)
    await until(lambda: script.waiting == 1)
    assert probes.results().unready == {"c-0"}


async def test_what_has_ended_is_not_probed_and_its_successor_anew(probing: Probing) -> None:
    given, script = pod(liveness={"failureThreshold": 2}), Script(ILL)
    probes = probing(script)
    probes.sync(given, runtime())
    await until(lambda: script.waiting)
    probes.sync(given, runtime(replace(RUNNING, state=State.EXITED)))
    await until(lambda: not script.waiting)
    script.left = [ILL]
    probes.sync(given, runtime(replace(RUNNING, id="c-1", attempt=1)))
    await until(lambda: script.waiting)
    assert not probes.results().failed


async def test_liveness_and_readiness_wait_until_the_container_has_started(probing: Probing) -> None:
    script = Script(WELL, ILL)
    probes = probing(script)
    probes.sync(pod(startup={}, liveness={"failureThreshold": 1}), runtime())
    assert probes.results().not_started == {"c-0"}
    await until(lambda: probes.results().failed)
    assert not probes.results().not_started
    assert probes.totals == {("c", "startup", "successful"): 1, ("c", "liveness", "failed"): 1}


class Commands:
    """A runtime that only executes: an exit code, or an error."""

    def __init__(self, answer: int | RuntimeFault) -> None:
        self.answer, self.command = answer, [""]

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout: int) -> ExecResult:
        self.command = list(command)
        if isinstance(self.answer, RuntimeFault):
            raise self.answer
        return ExecResult(self.answer)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [(0, True), (126, False), (RuntimeDeadline("slow"), False), (RuntimeFault("failed to exec in container"), None)],
)
async def test_only_a_command_that_ran_has_a_verdict(answer: int | RuntimeFault, verdict: bool | None) -> None:
    prober = NetworkProber(cast(Runtime, Commands(answer)))
    assert (await prober.probe({"exec": {"command": ["x"]}}, {}, "c-0", "")).ok is verdict


async def test_a_command_sees_what_the_spec_says_of_the_environment() -> None:
    commands = Commands(0)
    env = [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    words = ["$(A)", "$(B)", "$(C)", "$$(A)"]
    await NetworkProber(cast(Runtime, commands)).probe({"exec": {"command": words}}, {"env": env}, "c-0", "")
    assert commands.command == ["1", "", "$(C)", "$(A)"]
