"""Services' addresses: Endpoints, EndpointSlices, mirrors."""

from apimachinery.meta import Object, labels_of
from apimachinery.scheme import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES
from master.controller_manager.slices import Group, Template, plan
from tests.fakes import FakeCluster
from tests.fakes.manager import running, settle
from tests.waiting import until

CONTROLLERS = ("endpoints-controller", "endpointslice-controller", "endpointslice-mirroring-controller")


def service(name: str = "web", **spec: object) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]
    body = {"selector": {"app": "web"}, "ports": ports, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], **spec}
    return {"metadata": {"name": name, "namespace": "ns", "labels": {"team": "a"}}, "spec": body}


def add_pod(cluster: FakeCluster, name: str, ip: str, *, ready: bool = True, port: int = 8080) -> None:
    container = {"name": "c", "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}]}
    metadata = {"name": name, "namespace": "ns", "labels": {"app": "web"}}
    cluster.create(PODS, {"metadata": metadata, "spec": {"containers": [container], "nodeName": "n"}})
    set_status(cluster, name, ip, ready=ready)


def set_status(cluster: FakeCluster, name: str, ip: str, *, ready: bool) -> None:
    pod = cluster.get(PODS, "ns", name)
    condition = {"type": "Ready", "status": str(ready)}
    pod["status"] = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [condition]}
    cluster.update(PODS, pod, "status")


def subsets(cluster: FakeCluster, name: str = "web") -> list[Object]:
    found = cluster.find(ENDPOINTS, "ns", name)
    return (found or {}).get("subsets") or []


def slices(cluster: FakeCluster) -> list[Object]:
    return cluster.all(ENDPOINT_SLICES, "ns")


def conditions(cluster: FakeCluster) -> dict[str, tuple[bool, bool, bool]]:
    return {
        e["addresses"][0]: (e["conditions"]["ready"], e["conditions"]["serving"], e["conditions"]["terminating"])
        for s in slices(cluster)
        for e in s.get("endpoints") or ()
    }


async def test_ready_pods_of_the_selector_are_listed_with_their_own_ports() -> None:
    cluster = FakeCluster()
    cluster.create(NODES, {"metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z"}}})
    cluster.create(SERVICES, service())
    async with running(cluster, *CONTROLLERS):
        add_pod(cluster, "a", "10.0.0.1")
        add_pod(cluster, "b", "10.0.0.2", ready=False)
        add_pod(cluster, "c", "10.0.0.3", port=9090)
        await until(lambda: len(conditions(cluster)) == 3 and len(subsets(cluster)) == 2)
        await settle(cluster)
        by_port = {s["ports"][0]["port"]: s for s in subsets(cluster)}
        assert [a["ip"] for a in by_port[8080]["addresses"]] == ["10.0.0.1"]
        assert [a["ip"] for a in by_port[8080]["notReadyAddresses"]] == ["10.0.0.2"]
        assert [a["ip"] for a in by_port[9090]["addresses"]] == ["10.0.0.3"]
        assert len(slices(cluster)) == 2
        piece = next(s for s in slices(cluster) if s["ports"][0]["port"] == 9090)
        assert piece["endpoints"][0]["nodeName"] == "n"
        assert piece["endpoints"][0]["zone"] == "z"
        assert labels_of(piece)["kubernetes.io/service-name"] == "web"
        assert conditions(cluster)["10.0.0.2"] == (False, False, False)
        cluster.delete(PODS, "ns", "a")  # its node has not confirmed: it serves on while it ends
        await until(lambda: conditions(cluster)["10.0.0.1"] == (False, True, True))
        await until(lambda: "10.0.0.1" not in str(subsets(cluster)))
        cluster.delete(SERVICES, "ns", "web")
        await until(lambda: not slices(cluster) and cluster.find(ENDPOINTS, "ns", "web") is None)


async def test_unready_pods_are_published_where_the_service_says_so() -> None:
    cluster = FakeCluster()
    cluster.create(SERVICES, service(publishNotReadyAddresses=True, clusterIP="None"))
    async with running(cluster, *CONTROLLERS):
        add_pod(cluster, "a", "10.0.0.1", ready=False)
        await until(lambda: conditions(cluster) == {"10.0.0.1": (True, False, False)})
        await until(lambda: [a["ip"] for s in subsets(cluster) for a in s.get("addresses", ())] == ["10.0.0.1"])
        assert labels_of(slices(cluster)[0])["service.kubernetes.io/headless"] == ""


async def test_a_service_without_pods_has_one_empty_slice_and_endpoints() -> None:
    cluster = FakeCluster()
    cluster.create(SERVICES, service())
    async with running(cluster, *CONTROLLERS):
        await until(lambda: len(slices(cluster)) == 1 and cluster.find(ENDPOINTS, "ns", "web") is not None)
        await settle(cluster)
        assert slices(cluster)[0]["endpoints"] == subsets(cluster) == []
        add_pod(cluster, "a", "10.0.0.1")
        await until(lambda: conditions(cluster))
        await settle(cluster)
        assert len(slices(cluster)) == 1


async def test_endpoints_without_a_selector_are_mirrored_and_followed() -> None:
    cluster = FakeCluster()
    cluster.create(SERVICES, service(selector=None))
    body = {"subsets": [{"addresses": [{"ip": "1.2.3.4"}, {"ip": "fd00::1"}], "ports": [{"port": 80}]}]}
    cluster.create(ENDPOINTS, {"metadata": {"name": "web", "namespace": "ns"}, **body})
    async with running(cluster, *CONTROLLERS):
        await until(lambda: sorted(s["addressType"] for s in slices(cluster)) == ["IPv4", "IPv6"])
        cluster.patch(ENDPOINTS, "ns", "web", {"subsets": body["subsets"][:0]}, "application/merge-patch+json")
        await until(lambda: not slices(cluster))
        assert cluster.find(ENDPOINTS, "ns", "web") is not None


def endpoints(count: int) -> list[Object]:
    return [{"addresses": [f"10.0.{n // 250}.{n % 250}"]} for n in range(count)]


def test_slices_are_filled_and_changed_as_little_as_possible() -> None:
    template = Template("ns", "web-", {}, {}, {"uid": "u"})
    made = plan([Group("IPv4", [], endpoints(250))], [], template)
    assert [len(s["endpoints"]) for s in made.create] == [100, 100, 50]
    found = [{**s, "metadata": {**s["metadata"], "name": f"s{n}"}} for n, s in enumerate(made.create)]
    fewer = plan([Group("IPv4", [], [e for e in endpoints(250) if e != endpoints(1)[0]])], found, template)
    assert (len(fewer.create), len(fewer.update), len(fewer.delete)) == (0, 1, 0)
    same = plan([Group("IPv4", [], endpoints(250))], found, template)
    assert not same.create and not same.update and not same.delete
    more = plan([Group("IPv4", [], endpoints(251))], found, template)
    assert [len(s["endpoints"]) for s in more.update] == [51]
    none = plan([Group("IPv4", [])], found, template)
    assert (len(none.update), len(none.delete), len(none.create)) == (1, 2, 0)
