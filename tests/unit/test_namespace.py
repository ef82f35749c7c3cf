"""The end of namespaces: pods first, then the rest; conditions tell what holds it up."""

from apimachinery.meta import Object, get_condition
from apimachinery.scheme import CONFIG_MAPS, CORE_EVENTS, DEPLOYMENTS, NAMESPACES, PODS, SECRETS
from tests import fakes
from tests.fakes.manager import running, settle
from tests.waiting import until

MERGE = "application/merge-patch+json"


def fill(cluster: fakes.FakeCluster, namespace: str) -> None:
    cluster.create(NAMESPACES, {"metadata": {"name": namespace}})
    for kind in (CONFIG_MAPS, SECRETS, DEPLOYMENTS, CORE_EVENTS, PODS):
        cluster.create(kind, {"metadata": {"name": "x", "namespace": namespace}, "spec": {}})


def condition(cluster: fakes.FakeCluster, type_: str) -> Object:
    return get_condition(cluster.get(NAMESPACES, "", "ns"), type_) or {}


async def test_everything_in_it_goes_and_nothing_else() -> None:
    cluster = fakes.FakeCluster()
    fill(cluster, "ns")
    fill(cluster, "other")
    async with running(cluster, "namespace"):
        cluster.delete(NAMESPACES, "", "ns")
        await until(lambda: cluster.find(NAMESPACES, "", "ns") is None)
    left = {
        o["metadata"]["namespace"] for k in (CONFIG_MAPS, SECRETS, DEPLOYMENTS, CORE_EVENTS) for o in cluster.all(k)
    }
    assert left == {"other"}


async def test_a_pod_that_is_held_holds_everything() -> None:
    cluster = fakes.FakeCluster()
    fill(cluster, "ns")
    cluster.patch(PODS, "ns", "x", {"metadata": {"finalizers": ["example.com/hold"]}}, MERGE)
    async with running(cluster, "namespace"):
        cluster.delete(NAMESPACES, "", "ns")
        await until(lambda: condition(cluster, "NamespaceContentRemaining").get("status") == "True")
        await settle(cluster)
        assert not cluster.get(CONFIG_MAPS, "ns", "x")["metadata"].get("deletionTimestamp")
        held = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        assert condition(cluster, "NamespaceFinalizersRemaining")["message"] == held
        cluster.patch(PODS, "ns", "x", {"metadata": {"finalizers": None}}, MERGE)
        await until(lambda: cluster.find(NAMESPACES, "", "ns") is None)


async def test_a_namespace_that_was_terminating_before_is_ended() -> None:
    cluster = fakes.FakeCluster()
    fill(cluster, "ns")
    cluster.delete(NAMESPACES, "", "ns")
    async with running(cluster, "namespace"):
        await until(lambda: cluster.find(NAMESPACES, "", "ns") is None)
