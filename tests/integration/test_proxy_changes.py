"""Whatever way the Services go, small changes leave the kernel with the table that a whole replacement would."""

import random
from collections.abc import Iterator

import pytest

from apimachinery import nft
from apimachinery.netlink import in_namespace
from node.proxy import script
from node.proxy.model import Endpoint, ServicePort
from node.proxy.plan import Rules, plan
from tests.integration.netns import namespace

pytestmark = pytest.mark.root


@pytest.fixture
def here() -> Iterator[None]:
    with namespace() as name, in_namespace(f"/run/netns/{name}"):
        yield


def listing() -> list[str]:
    """The table, without the order in which its parts came to be."""
    return sorted(
        chunk if "chain" in chunk else "".join(sorted(chunk.replace(",", " ").split()))
        for chunk in (nft.show("list", "table", "ip", script.TABLE) or "").removesuffix("\n}\n").split("\n\n")
    )


def some_services(choose: random.Random) -> Rules:
    rules = Rules()
    for number in range(choose.randrange(6)):
        endpoints = [
            Endpoint(f"10.244.{node}.{choose.randrange(2, 5)}", 8080, node == 0) for node in range(choose.randrange(4))
        ]
        port = ServicePort(
            name=f"ns/s{number}/{(protocol := choose.choice(['tcp', 'udp', 'sctp']))}/80",
            protocol=protocol,
            port=80,
            node_port=choose.choice([0, 30000 + choose.randrange(3)]),
            cluster_ips=(f"10.96.0.{choose.randrange(1, 9)}",),
            external_ips=choose.choice([(), ("192.0.2.1",)]),
            affinity_seconds=choose.choice([0, 60, 3600]),
            internal_local=choose.random() < 0.3,
            external_local=choose.random() < 0.3,
            endpoints=tuple(endpoints),
        )
        rules.merge(plan([port], "10.244.0.0/16"))
    return rules


@pytest.mark.parametrize("seed", range(3))
def test_changes_and_replacement_agree(here: None, seed: int) -> None:
    choose, applied = random.Random(seed), Rules()
    nft.apply(script.replace(applied))
    for _ in range(12):
        wanted = some_services(choose)
        if text := script.change(applied, wanted):
            nft.apply(text)
        changed = listing()
        nft.apply(script.replace(wanted))
        assert listing() == changed
        applied = wanted


def test_a_thousand_services_take_less_than_a_second_and_one_change_milliseconds(here: None) -> None:
    import time

    def rules(endpoints_of_the_first: int) -> Rules:
        made = Rules()
        for number in range(1000):
            count = endpoints_of_the_first if number == 0 else 3
            endpoints = tuple(Endpoint(f"10.244.{node}.{number % 250 + 2}", 8080, False) for node in range(count))
            front = f"10.96.{number // 250}.{number % 250 + 1}"
            port = ServicePort(f"ns/s{number}/tcp/80", "tcp", 80, 0, (front,), (), 0, False, False, endpoints)
            made.merge(plan([port], "10.244.0.0/16"))
        return made

    first, second = rules(3), rules(2)
    started = time.perf_counter()
    nft.apply(script.replace(first))
    whole = time.perf_counter() - started
    nft.apply(script.change(first, second))
    one = time.perf_counter() - started - whole
    assert whole < 3  # 0.3 s on an idle machine
    assert one < whole
