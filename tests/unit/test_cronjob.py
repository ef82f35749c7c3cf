"""CronJobs: schedules, concurrency policies, history, suspension."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from apimachinery.clock import ManualClock
from apimachinery.meta import Object, owner_reference
from apimachinery.scheme import CORE_EVENTS, JOBS
from master.controller_manager.cron_schedule import parse
from master.controller_manager.cronjob import CRON_JOBS
from tests import fakes
from tests.fakes.manager import running, settle
from tests.waiting import until


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("* * * * *", "2026-01-01T10:00:30", "2026-01-01T10:01:00"),
        ("*/15 8-10 * * *", "2026-01-01T10:45:00", "2026-01-02T08:00:00"),
        ("30 6 * * mon-fri", "2026-01-02T07:00:00", "2026-01-05T06:30:00"),
        ("0 0 1,15 * 1", "2026-01-02T00:00:00", "2026-01-05T00:00:00"),
        ("0 12 29 2 *", "2026-01-01T00:00:00", "2028-02-29T12:00:00"),
        ("@daily", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("@every 90s", "2026-01-01T00:00:10", "2026-01-01T00:01:40"),
    ],
)
def test_schedules(schedule: str, after: str, expected: str) -> None:
    assert parse(schedule, UTC).next(at(after)) == at(expected)


def test_schedules_run_by_the_wall_clock_of_their_zone() -> None:
    assert parse("0 9 * * *", ZoneInfo("Europe/Berlin")).next(at("2026-07-01T00:00:00")) == at("2026-07-01T07:00:00")


@pytest.mark.parametrize("schedule", ["", "* * * *", "60 * * * *", "a * * * *", "5-1 * * * *", "*/0 * * * *"])
def test_bad_schedules_are_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(schedule, UTC)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.cluster = fakes.FakeCluster(self.clock)

    async def create(self, **spec: Any) -> None:
        template = {"spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}}
        body = {"schedule": "* * * * *", "jobTemplate": template, **spec}
        self.cluster.create(CRON_JOBS, {"metadata": {"name": "cj", "namespace": "ns"}, "spec": body})
        await settle(self.cluster)

    async def minutes(self, count: int = 1) -> None:
        for _ in range(count):
            self.clock.advance(60)
            await settle(self.cluster)

    async def complete(self) -> None:
        for job in self.cluster.all(JOBS):
            status = {"conditions": [{"type": "Complete", "status": "True"}], "startTime": "2026-01-01T00:00:00Z"}
            self.cluster.update(JOBS, {**job, "status": status}, "status")
        await settle(self.cluster)

    def active(self) -> int:
        return len(self.cluster.get(CRON_JOBS, "ns", "cj")["status"].get("active") or [])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    async with running(world.cluster, "cronjob"):
        yield world


@pytest.mark.parametrize(("policy", "jobs"), [("Allow", 3), ("Forbid", 1), ("Replace", 1)])
async def test_concurrency_policies(world: World, policy: str, jobs: int) -> None:
    await world.create(concurrencyPolicy=policy)
    await world.minutes(3)
    found: list[Object] = world.cluster.all(JOBS)
    assert (len(found), world.active()) == (jobs, jobs)
    first = f"cj-{int(world.clock.now().timestamp()) // 60}"
    assert policy != "Replace" or found[0]["metadata"]["name"] == first


async def test_a_job_made_by_hand_runs_beside_the_schedule(world: World) -> None:
    await world.create(concurrencyPolicy="Forbid")
    owner = owner_reference(world.cluster.get(CRON_JOBS, "ns", "cj"), CRON_JOBS)
    annotations = {"cronjob.kubernetes.io/instantiate": "manual"}
    metadata = {"name": "by-hand", "namespace": "ns", "annotations": annotations, "ownerReferences": [owner]}
    world.cluster.create(JOBS, {"metadata": metadata, "spec": {}})
    await until(lambda: any(e["reason"] == "UnexpectedJob" for e in world.cluster.all(CORE_EVENTS)))
    await world.minutes()
    assert (len(world.cluster.all(JOBS)), world.active()) == (2, 1)


async def test_history_is_limited(world: World) -> None:
    await world.create(successfulJobsHistoryLimit=2)
    for _ in range(4):
        await world.minutes()
        await world.complete()
    assert len(world.cluster.all(JOBS)) == 2 and world.active() == 0


async def test_a_suspended_one_does_nothing_and_then_catches_up_once(world: World) -> None:
    await world.create(suspend=True)
    await world.minutes(5)
    assert world.cluster.all(JOBS) == []
    world.cluster.patch(CRON_JOBS, "ns", "cj", {"spec": {"suspend": False}}, "application/merge-patch+json")
    await settle(world.cluster)
    assert len(world.cluster.all(JOBS)) == 1
