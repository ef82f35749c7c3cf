"""Seats, queues and turns: who is served before whom. No clock decides: what is asserted is order and share."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from apimachinery.errors import TooManyRequests
from master.apiserver.auth.authorizer import RequestAttributes
from master.apiserver.auth.user import User
from master.apiserver.fairness import classify, defaults, upkeep
from master.apiserver.fairness.fairness import Fairness, Limits, Ticket, level_configs
from master.apiserver.fairness.turns import SLICE, Flow, Pass, Turns
from tests.memory_reader import MemoryReader


def reader_with_defaults() -> MemoryReader:
    reader = MemoryReader()
    for kind, objects in ((defaults.LEVELS, defaults.levels()), (defaults.FLOW_SCHEMAS, defaults.schemas())):
        for obj in objects:
            reader.put(kind, obj)
    return reader


def about(user: str, *groups: str, verb: str = "get", resource: str = "pods", **rest: Any) -> RequestAttributes:
    group = "coordination.k8s.io" if resource == "leases" else ""
    return RequestAttributes(User(user, groups=(*groups, "system:authenticated")), verb, group, "v1", resource, **rest)


@pytest.mark.parametrize(
    ("request_", "schema"),
    [
        (about("admin", "system:masters"), "exempt"),
        (about("node", "system:nodes", verb="update", resource="leases", namespace="x"), "system-node-high"),
        (about("node", "system:nodes", verb="patch", resource="nodes", subresource="status"), "system-node-high"),
        (about("system:node:a", "system:nodes", namespace="default"), "system-nodes"),
        (about("system:kube-scheduler", verb="get", resource="leases", namespace="x"), "system-leader-election"),
        (about("system:serviceaccount:kube-system:x", "system:serviceaccounts"), "kube-system-service-accounts"),
        (about("system:serviceaccount:default:x", "system:serviceaccounts"), "service-accounts"),
        (about("alice"), "global-default"),
        (RequestAttributes(User("x", groups=("system:unauthenticated",)), "get", path="/livez"), "probes"),
    ],
)  # fmt: skip
def test_default_schemas_classify(request_: RequestAttributes, schema: str) -> None:
    schemas = classify.order(classify.Schema.of(s) for s in defaults.schemas())
    assert classify.first(schemas, request_).name == schema


def test_seats_follow_shares_and_lending() -> None:
    configs = level_configs(defaults.levels(), 245)
    assert {n: c.nominal for n, c in configs.items()} == {
        "exempt": 0, "catch-all": 5, "system": 30, "node-high": 40, "leader-election": 10, "workload-high": 40,
        "workload-low": 100, "global-default": 20,
    }  # fmt: skip
    assert (configs["workload-low"].guaranteed, configs["leader-election"].guaranteed) == (10, 10)


async def seated(fairness: Fairness, request: RequestAttributes, width: int = 1) -> Ticket:
    ticket = fairness.ticket(request, width)
    if not ticket.enter():
        await ticket.wait()
    return ticket


def test_a_flood_never_takes_another_levels_guaranteed_seats() -> None:
    async def run() -> None:
        fairness = Fairness(reader_with_defaults(), 49)
        flood = []
        while (ticket := fairness.ticket(about("noisy"))).enter():
            flood.append(ticket)
        nodes = [fairness.ticket(about(f"system:node:{i}", "system:nodes", namespace="x")) for i in range(4)]
        assert len(flood) > fairness.pool.levels["global-default"].config.nominal  # it has borrowed
        assert all(t.enter() for t in nodes)
        assert sum(level.in_use for level in fairness.pool.levels.values()) <= 49

    asyncio.run(run())


def test_queued_flows_are_served_in_turn_however_many_wait() -> None:
    async def run() -> list[str]:
        reader = reader_with_defaults()
        level = reader.get(defaults.LEVELS, "", "global-default") or {}
        level["spec"]["limited"]["borrowingLimitPercent"] = 0
        fairness = Fairness(reader, 49)
        order: list[str] = []
        held = [await seated(fairness, about("noisy")) for _ in range(4)]

        async def one(user: str) -> None:
            ticket = await seated(fairness, about(user))
            order.append(user)
            ticket.leave()

        waiting = [asyncio.create_task(one("noisy")) for _ in range(100)]
        await asyncio.sleep(0)
        waiting += [asyncio.create_task(one("victim")) for _ in range(3)]
        await asyncio.sleep(0)
        assert not order
        held[0].leave()
        await asyncio.gather(*waiting)
        return order

    order = asyncio.run(run())
    assert len(order) == 103
    assert [i for i, user in enumerate(order) if user == "victim"][-1] < 40


def test_a_full_queue_refuses_and_counts() -> None:
    async def run() -> None:
        fairness = Fairness(reader_with_defaults(), 1)
        while (ticket := fairness.ticket(about("x"))).enter():
            pass
        tasks = [asyncio.create_task(fairness.ticket(about("x")).wait()) for _ in range(401)]
        await asyncio.sleep(0)
        refused = [t for t in tasks if t.done()]
        assert len(refused) == 101  # a hand of six queues, fifty in each
        assert all(isinstance(t.exception(), TooManyRequests) for t in refused)
        assert ticket.match.tally.rejected == {"queue-full": 101}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert fairness.pool.levels["global-default"].waiting == 0

    asyncio.run(run())


def test_plain_limits_refuse_at_once_but_never_administrators() -> None:
    async def run() -> None:
        limits = Limits(MemoryReader(), 1, 1)
        assert limits.ticket(about("a")).enter()
        assert limits.ticket(about("a", verb="create")).enter()
        assert not limits.ticket(about("b")).enter()
        with pytest.raises(TooManyRequests):
            await limits.ticket(about("b")).wait()
        assert limits.ticket(about("root", "system:masters")).enter()

    asyncio.run(run())


class Work:
    """Steps that take a slice each by the turns' clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []
        self.turns = Turns(lambda: self.now)

    async def step(self, name: str, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds
        self.order.append(name)

    async def run(self, name: str, flow: Flow, steps: int, seconds: float = SLICE) -> None:
        async def work() -> None:
            for _ in range(steps):
                await self.step(name, seconds)

        await self.turns.take(Pass(flow), work())


def test_a_busy_loop_serves_flows_alike() -> None:
    async def run() -> list[str]:
        work, noisy, victim = Work(), Flow(), Flow()
        many = [asyncio.create_task(work.run("noisy", noisy, 3)) for _ in range(50)]
        for _ in range(5):
            await asyncio.sleep(0)
        await asyncio.gather(*many, work.run("victim", victim, 20))
        return work.order

    order = asyncio.run(run())
    last = max(i for i, name in enumerate(order) if name == "victim")
    share = Counter(order[: last + 1])
    assert share["noisy"] <= 60 + share["victim"]  # what ran before the loop was known to be busy, then alike


def test_work_that_is_cancelled_while_it_waits_ends_as_cancelled() -> None:
    async def run() -> None:
        work = Work()
        seen: list[str] = []

        async def cleaning() -> None:
            try:
                await work.step("x", SLICE * 2)
                await asyncio.sleep(0)
                await work.step("y", SLICE * 2)
            finally:
                seen.append("cleaned")

        tasks = [asyncio.create_task(work.turns.take(Pass(Flow()), cleaning())) for _ in range(8)]  # type: ignore[arg-type]
        for _ in range(3):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(e, asyncio.CancelledError) for e in ended)
        assert len(seen) == 8

    asyncio.run(run())


def test_mandatory_objects_are_put_back_and_schemas_tell_of_missing_levels() -> None:
    wanted = next(o for o in defaults.levels() if o["metadata"]["name"] == "exempt")
    mine = {"metadata": {"name": "exempt", "annotations": {}}, "spec": {"type": "Exempt"}}
    assert upkeep.outdated(mine, wanted)
    schema = next(defaults.schemas())
    (told,) = upkeep.dangling_changed([schema], set())
    (dangling,) = told["status"]["conditions"]
    assert (dangling["status"], dangling["reason"]) == ("True", "NotFound")
    assert dangling["message"].endswith("but there is no such object") and dangling["lastTransitionTime"]
    assert not list(upkeep.dangling_changed([told], set()))
