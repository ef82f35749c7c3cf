"""Leader election: one at a time, handed over on release, taken over when the Lease runs out."""

import asyncio

from apimachinery import errors
from apimachinery.client.leader import LeaderElector
from apimachinery.clock import ManualClock
from apimachinery.meta import Object
from apimachinery.scheme import LEASES, Kind
from tests import fakes
from tests.waiting import until


class Candidate:
    def __init__(self, cluster: fakes.FakeCluster, clock: ManualClock, identity: str) -> None:
        self.elector = LeaderElector(fakes.client(cluster), "lock", identity, {"a": identity}, clock=clock)
        self.leading = 0
        self.terms = 0
        self.task = asyncio.create_task(self.elector.run(self.lead))

    async def lead(self) -> None:
        self.leading += 1
        self.terms += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.leading -= 1

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def let_pass(clock: ManualClock, seconds: int) -> None:
    for _ in range(seconds):
        clock.advance(1)
        for _ in range(30):
            await asyncio.sleep(0)


async def test_the_second_waits_and_follows_on_release() -> None:
    clock = ManualClock()
    cluster = fakes.FakeCluster(clock)
    first = Candidate(cluster, clock, "one")
    await until(lambda: first.leading)
    second = Candidate(cluster, clock, "two")
    await let_pass(clock, 60)
    assert (first.leading, second.leading) == (1, 0)
    lease = cluster.get(LEASES, "kube-system", "lock")
    assert lease["spec"]["holderIdentity"] == "one" and lease["spec"]["leaseTransitions"] == 0
    assert lease["metadata"]["annotations"] == {"a": "one"}
    await first.stop()
    assert cluster.get(LEASES, "kube-system", "lock")["spec"]["holderIdentity"] == ""
    await let_pass(clock, 3)
    assert second.leading == 1
    assert cluster.get(LEASES, "kube-system", "lock")["spec"]["leaseTransitions"] == 1
    await second.stop()


async def test_a_leader_that_cannot_renew_stops_before_another_starts() -> None:
    clock = ManualClock()
    cluster = fakes.FakeCluster(clock)
    first = Candidate(cluster, clock, "one")
    await until(lambda: first.leading)
    second = Candidate(cluster, clock, "two")
    cut_off = "one"

    def intercept(verb: str, kind: Kind, name: str, body: Object | None) -> None:
        if kind is LEASES and verb == "update" and body and body["spec"]["holderIdentity"] == cut_off:
            raise errors.ServiceUnavailable("cut off")

    cluster.intercept = intercept
    for _ in range(40):
        await let_pass(clock, 1)
        assert first.leading + second.leading <= 1
    assert (first.leading, second.leading) == (0, 1)
    cut_off = "nobody"
    await second.stop()
    await let_pass(clock, 5)
    assert (first.leading, first.terms) == (1, 2)
    await first.stop()


async def test_a_restarted_holder_of_the_same_identity_goes_on_at_once() -> None:
    clock = ManualClock()
    cluster = fakes.FakeCluster(clock)
    spec = {"holderIdentity": "one", "leaseDurationSeconds": 15, "leaseTransitions": 4}
    cluster.create(LEASES, {"metadata": {"name": "lock", "namespace": "kube-system"}, "spec": spec})
    first = Candidate(cluster, clock, "one")
    await until(lambda: first.leading)
    assert cluster.get(LEASES, "kube-system", "lock")["spec"]["leaseTransitions"] == 4
    await first.stop()
