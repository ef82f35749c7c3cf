"""Routes of a node in its namespace: made, repaired, taken away."""

import asyncio
from collections.abc import Iterator

import pytest

from apimachinery.client.informer import InformerFactory
from apimachinery.netlink import in_namespace
from apimachinery.scheme import NODES
from node.routes import Routes, RoutesConfig, plan, remove, run
from tests import fakes
from tests.integration.netns import inside, namespace, sh
from tests.unit.test_routes import node

pytestmark = pytest.mark.root
CONFIG = RoutesConfig("a", "10.244.0.0/16", "10.96.0.0/16", "10.96.0.10")
NODES_NOW = [node("a", "172.30.0.2", "10.244.0.0/24"), node("b", "172.30.0.3", "10.244.1.0/24")]


@pytest.fixture
def here() -> Iterator[str]:
    """A node's namespace with an uplink and a default route, entered by this thread."""
    with namespace() as name, namespace() as outside:
        sh("ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", "kw0", "netns", outside)
        sh("ip", "-n", name, "addr", "add", "172.30.0.2/24", "dev", "eth0")
        for where, link in ((name, "eth0"), (outside, "kw0")):
            sh("ip", "-n", where, "link", "set", link, "up")
        sh("ip", "-n", name, "route", "add", "default", "via", "172.30.0.1")
        with in_namespace(f"/run/netns/{name}"):
            yield name


def route_to(name: str, address: str, *more: str) -> str:
    return sh("ip", "-n", name, "route", "get", address, *more, check=False)


def test_routes_are_made_repaired_and_removed(here: str) -> None:
    routes, wanted = Routes(CONFIG), plan(NODES_NOW, CONFIG)
    routes.reconcile(wanted)
    assert "via 172.30.0.3 dev eth0" in route_to(here, "10.244.1.7")
    assert route_to(here, "10.244.9.9") == ""
    assert "dev kubeto-svc src 172.30.0.2" in route_to(here, "10.96.3.3")
    assert "local" in route_to(here, "10.96.0.10")
    before = sh("ip", "-n", here, "route"), inside(here, "nft", "list", "ruleset")
    sh("ip", "-n", here, "route", "del", "10.244.1.0/24")
    sh("ip", "-n", here, "link", "del", "kubeto-svc")
    inside(here, "nft", "flush", "ruleset")
    routes.rules_in_doubt = True
    routes.reconcile(wanted)
    assert (sh("ip", "-n", here, "route"), inside(here, "nft", "list", "ruleset")) == before
    routes.reconcile(plan(NODES_NOW[:1], CONFIG))
    assert route_to(here, "10.244.1.7") == ""
    remove()
    assert "10." not in sh("ip", "-n", here, "route")
    assert "kubeto" not in inside(here, "nft", "list", "ruleset") + sh("ip", "-n", here, "link")


async def test_it_follows_the_nodes_and_undoes_what_others_do(here: str) -> None:
    cluster = fakes.FakeCluster()
    informers = InformerFactory(fakes.client(cluster))
    for each in NODES_NOW:
        made = cluster.create(NODES, each)
        cluster.update(NODES, {**made, "status": each["status"]}, "status")
    tasks = [asyncio.create_task(run(informers, CONFIG)), asyncio.create_task(informers.run())]

    async def until(destination: str, expected: str) -> None:
        async with asyncio.timeout(5):
            while expected not in (route_to(here, destination) or "none"):
                await asyncio.sleep(0.02)

    try:
        await until("10.244.1.7", "via 172.30.0.3")
        sh("ip", "-n", here, "route", "del", "10.244.1.0/24")
        await until("10.244.1.7", "via 172.30.0.3")
        inside(here, "nft", "flush", "ruleset")
        async with asyncio.timeout(5):
            while "masquerade" not in inside(here, "nft", "list", "ruleset"):
                await asyncio.sleep(0.02)
        cluster.delete(NODES, "", "b")
        await until("10.244.1.7", "none")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
