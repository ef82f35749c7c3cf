"""A machine that is told to shut down, by a logind on a real D-Bus daemon: what becomes of its node and pods."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apimachinery.meta import get_condition
from apimachinery.scheme import CORE_EVENTS, NODES, PODS
from node.agent.logind import Logind, LogindError
from node.agent.settings import Period
from tests.fakes.logind import FakeLogind
from tests.unit.node.test_node import NODE, Object, World, is_ready, pod
from tests.waiting import until

pytestmark = pytest.mark.skipif(not shutil.which("dbus-daemon"), reason="needs dbus-daemon")
PERIODS = (Period(0, 20), Period(2_000_000_000, 5))


@pytest.fixture
async def logind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeLogind]:
    async with FakeLogind(tmp_path) as fake:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", fake.address)
        yield fake


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def ready(world: World) -> Object:
    return get_condition(world.cluster.find(NODES, "", NODE) or {}, "Ready") or {}


async def test_pods_end_by_priority_and_the_machine_waits_for_them(world: World, logind: FakeLogind) -> None:
    stubborn = ("sh", "-c", "trap '' TERM; sleep 1000")
    world.cluster.create(PODS, pod("plain", *stubborn, terminationGracePeriodSeconds=1))
    world.cluster.create(PODS, pod("vital", *stubborn, terminationGracePeriodSeconds=1, priority=2_000_000_000))
    async with world.node(shutdown_periods=PERIODS):
        await until(lambda: is_ready(world, "plain") and is_ready(world, "vital") and logind.held == 1)
        await logind.announce(True)
        await until(lambda: ready(world).get("status") == "False")
        assert (ready(world)["reason"], ready(world)["message"]) == ("KubeletNotReady", "node is shutting down")
        assert logind.held == 1
        world.cluster.create(PODS, pod("late", "sleep", "1000"))
        await until(lambda: world.status("late").get("reason") == "NodeShutdown")
        assert world.status("late")["message"] == "Pod was rejected: Pod was rejected as the node is shutting down."
        await until(lambda: "Failed" in (world.status("plain")["phase"], world.status("vital")["phase"]))
        assert world.status("vital")["phase"] == "Running", "a critical pod goes after the others"
        await until(lambda: logind.held == 0)
        for name in ("plain", "vital"):
            status = world.status(name)
            assert (status["phase"], status["reason"]) == ("Failed", "Terminated")
            assert status["message"] == "Pod was terminated in response to imminent node shutdown."
            reason = {c["type"]: c.get("reason") for c in status["conditions"]}["DisruptionTarget"]
            assert reason == "TerminationByKubelet"
    told = {e["message"] for e in world.cluster.all(CORE_EVENTS) if e["reason"] == "NodeShutdown"}
    assert "Shutdown manager detected shutdown event" in told


async def test_a_shutdown_that_is_called_off_leaves_the_rest_alone(world: World, logind: FakeLogind) -> None:
    world.cluster.create(PODS, pod("plain", "sh", "-c", "trap '' TERM; sleep 1000", terminationGracePeriodSeconds=600))
    world.cluster.create(PODS, pod("vital", "sleep", "1000", priority=2_000_000_000))
    async with world.node(shutdown_periods=PERIODS):
        await until(lambda: is_ready(world, "plain") and is_ready(world, "vital") and logind.held == 1)
        await logind.announce(True)
        await until(lambda: ready(world).get("status") == "False")
        await logind.announce(False)
        await until(lambda: ready(world).get("status") == "True" and logind.held == 1)
        world.cluster.create(PODS, pod("late", "sleep", "1000"))
        await until(lambda: is_ready(world, "late"))
        assert is_ready(world, "vital")


async def test_an_agent_that_starts_in_a_shutdown_goes_on_with_it(world: World, logind: FakeLogind) -> None:
    world.cluster.create(PODS, pod("web", "sleep", "1000"))
    async with world.node(shutdown_periods=PERIODS):
        await until(lambda: is_ready(world, "web"))
    logind.preparing = True
    async with world.node(shutdown_periods=PERIODS):
        await until(lambda: world.status("web").get("reason") == "Terminated" and logind.held == 0)


async def test_logind_is_told_to_wait_long_enough(logind: FakeLogind, tmp_path: Path) -> None:
    logind.delay = 5.0
    bus = await Logind.connect(lambda _: None, str(tmp_path))
    await bus.allow_delay(25)
    assert await bus.longest_delay() == 25
    bus.close()


async def test_without_a_bus_the_node_runs_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    with pytest.raises(LogindError):
        await Logind.connect(lambda _: None)
    async with world.node(shutdown_periods=PERIODS):
        await until(lambda: ready(world).get("status") == "True")
