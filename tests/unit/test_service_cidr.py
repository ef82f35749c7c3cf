"""ServiceCIDRs become ready, and go when no Service has an address that only they have."""

from typing import Any

import pytest

from apimachinery.clock import ManualClock
from apimachinery.meta import get_condition
from apimachinery.scheme import SERVICES
from apimachinery.service_cidrs import DELETION_SECONDS, FINALIZER, SERVICE_CIDRS, gives_addresses
from master.controller_manager.service_cidr import blocking_address
from tests.fakes import FakeCluster
from tests.fakes.manager import running, settle
from tests.waiting import until


def cidr(name: str, *blocks: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"cidrs": list(blocks)}}


def service(*ips: str) -> dict[str, Any]:
    spec = {"clusterIP": ips[0], "clusterIPs": list(ips), "ports": [{"port": 80}]}
    return {"metadata": {"name": "s", "namespace": "a"}, "spec": spec}


@pytest.mark.parametrize(
    ("blocks", "others", "ips", "blocks_it"),
    [
        (["10.0.0.0/24"], [], ["10.0.0.5"], True),
        (["10.0.0.0/24"], [], ["10.0.1.5"], False),
        (["10.0.0.0/24"], [], ["None"], False),
        (["10.0.0.0/24"], [["10.0.0.0/16"]], ["10.0.0.5"], False),
        (["10.0.0.0/24"], [["10.0.0.0/24"]], ["10.0.0.5"], False),
        (["10.0.0.0/24"], [["10.0.0.0/28"]], ["10.0.0.5"], False),
        (["10.0.0.0/24"], [["10.0.0.0/28"]], ["10.0.0.99"], True),
        (["10.0.0.0/24", "fd00::/112"], [["10.0.0.0/16"]], ["10.0.0.5", "fd00::7"], True),
        (["10.0.0.0/24", "fd00::/112"], [["10.0.0.0/16"], ["fd00::/64"]], ["10.0.0.5", "fd00::7"], False),
    ],
)
def test_what_keeps_one_from_going(blocks: list[str], others: list[list[str]], ips: list[str], blocks_it: bool) -> None:
    one = cidr("one", *blocks)
    every = [one, *(cidr(str(n), *other) for n, other in enumerate(others))]
    assert bool(blocking_address(one, every, [service(*ips)])) is blocks_it


async def test_one_is_ready_until_it_goes_and_goes_when_nobody_needs_it() -> None:
    clock = ManualClock()
    cluster = FakeCluster(clock=clock)
    cluster.create(SERVICE_CIDRS, cidr("one", "10.0.0.0/24"))
    cluster.create(SERVICES, service("10.0.0.5"))

    def ready() -> Any:
        return get_condition(cluster.get(SERVICE_CIDRS, "", "one"), "Ready") or {}

    async with running(cluster, "service-cidr-controller"):
        await until(lambda: ready().get("status") == "True")
        stored = cluster.get(SERVICE_CIDRS, "", "one")
        assert stored["metadata"]["finalizers"] == [FINALIZER]
        assert ready()["message"] == "Kubernetes Service CIDR is ready" and gives_addresses(stored)
        cluster.delete(SERVICE_CIDRS, "", "one")
        await until(lambda: (ready().get("status"), ready().get("reason")) == ("False", "Terminating"))
        assert not gives_addresses(cluster.get(SERVICE_CIDRS, "", "one"))
        cluster.delete(SERVICES, "a", "s")
        clock.advance(DELETION_SECONDS + 1)
        await until(lambda: not cluster.all(SERVICE_CIDRS))


async def test_one_that_nobody_needs_waits_for_the_servers_to_hear_of_it() -> None:
    clock = ManualClock()
    cluster = FakeCluster(clock=clock)
    cluster.create(SERVICE_CIDRS, cidr("one", "10.0.0.0/24"))
    async with running(cluster, "service-cidr-controller"):
        await until(lambda: bool(get_condition(cluster.get(SERVICE_CIDRS, "", "one"), "Ready")))
        cluster.delete(SERVICE_CIDRS, "", "one")
        await settle(cluster)
        assert cluster.all(SERVICE_CIDRS)
        clock.advance(DELETION_SECONDS)
        await until(lambda: not cluster.all(SERVICE_CIDRS))
