"""What every namespace has: the default account and the CA."""

from apimachinery.scheme import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS
from tests.fakes import FakeCluster
from tests.fakes.manager import running, settle
from tests.waiting import until

CONTROLLERS = ("serviceaccount-controller", "root-ca-certificate-publisher-controller")


async def test_both_appear_come_back_and_stay_away_from_what_ends(tmp_path) -> None:  # type: ignore[no-untyped-def]
    ca = tmp_path / "ca.crt"
    ca.write_text("PEM")
    cluster = FakeCluster()
    async with running(cluster, *CONTROLLERS, root_ca_file=str(ca)):
        cluster.create(NAMESPACES, {"metadata": {"name": "ns"}, "spec": {"finalizers": ["kubernetes"]}})
        await until(lambda: cluster.get(SERVICE_ACCOUNTS, "ns", "default"))
        await until(lambda: cluster.get(CONFIG_MAPS, "ns", "kube-root-ca.crt")["data"] == {"ca.crt": "PEM"})
        cluster.delete(SERVICE_ACCOUNTS, "ns", "default")
        changed = {"data": {"ca.crt": "forged", "more": "x"}}
        cluster.patch(CONFIG_MAPS, "ns", "kube-root-ca.crt", changed, "application/merge-patch+json")
        await until(lambda: cluster.get(SERVICE_ACCOUNTS, "ns", "default"))
        await until(lambda: cluster.get(CONFIG_MAPS, "ns", "kube-root-ca.crt")["data"] == {"ca.crt": "PEM"})
        cluster.delete(NAMESPACES, "", "ns")
        cluster.delete(SERVICE_ACCOUNTS, "ns", "default")
        await settle(cluster)
        assert cluster.find(SERVICE_ACCOUNTS, "ns", "default") is None
