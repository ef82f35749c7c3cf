"""What the proxy decides: from Services and EndpointSlices to rules, and from one set of rules to the next."""

from typing import Any

from apimachinery.netlink.conntrack import Flow, stale
from node.proxy import model
from node.proxy.plan import CLUSTER_IPS, HAIRPIN, NODE_PORTS, REFUSED_NODE_PORTS, SERVICE_IPS, Rules, plan
from node.proxy.script import change, replace

CIDR = "10.244.0.0/16"


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"}]
    return {"metadata": {"namespace": "ns", "name": "web"}, "spec": {"clusterIP": "10.96.0.5", "ports": ports, **spec}}


def endpoint(ip: str, node: str = "a", **conditions: bool) -> dict[str, Any]:
    return {"addresses": [ip], "nodeName": node, "conditions": conditions}


def slice_(*endpoints: dict[str, Any], port: int = 8080, family: str = "IPv4") -> dict[str, Any]:
    return {"addressType": family, "ports": [{"name": "http", "port": port}], "endpoints": list(endpoints)}


def rules(service_: dict[str, Any], *slices: dict[str, Any]) -> Rules:
    return plan(model.service_ports(service_, slices, "a"), CIDR)


def targets(service_: dict[str, Any], *slices: dict[str, Any]) -> list[str]:
    return [f"{e.ip}:{e.port}" for port in model.service_ports(service_, slices, "a") for e in port.endpoints]


def test_endpoints_of_all_slices_count_once() -> None:
    slices = [slice_(endpoint("10.244.0.2")), slice_(endpoint("10.244.0.2"), endpoint("10.244.1.2"), port=9090)]
    slices.append(slice_(endpoint("10.244.0.2")))
    assert targets(service(), *slices) == ["10.244.0.2:8080", "10.244.0.2:9090", "10.244.1.2:9090"]
    assert targets(service(), slice_(endpoint("fd00::1"), family="IPv6")) == []


def test_serving_endpoints_that_terminate_are_the_last_resort() -> None:
    going = endpoint("10.244.0.3", ready=False, serving=True, terminating=True)
    unready = endpoint("10.244.0.4", ready=False, serving=False)
    assert targets(service(), slice_(endpoint("10.244.0.2", ready=True), going, unready)) == ["10.244.0.2:8080"]
    assert targets(service(), slice_(going, unready)) == ["10.244.0.3:8080"]


def test_headless_and_external_names_have_no_rules() -> None:
    for spec in ({"clusterIP": "None"}, {"type": "ExternalName", "clusterIP": ""}, {"clusterIP": "fd00::5"}):
        assert rules(service(**spec), slice_(endpoint("10.244.0.2"))) == Rules()


def test_a_cluster_ip_leads_to_a_random_endpoint() -> None:
    made = rules(service(), slice_(endpoint("10.244.0.2"), endpoint("10.244.1.2", "b")))
    assert made.elements[SERVICE_IPS] == {"10.96.0.5 . tcp . 80": "goto svc/ns/web/tcp/http"}
    assert made.elements[HAIRPIN] == {"10.244.0.2 . 10.244.0.2": ""}
    assert "mod 2 map { 0 : 10.244.0.2 . 8080, 1 : 10.244.1.2 . 8080 }" in made.chains["svc/ns/web/tcp/http"][1]


def test_without_endpoints_everything_is_refused() -> None:
    made = rules(service(type="NodePort", ports=[{"port": 80, "nodePort": 30080}]))
    assert made.elements == {CLUSTER_IPS: {"10.96.0.5": ""}, REFUSED_NODE_PORTS: {"tcp . 30080": ""}}


def test_local_policies() -> None:
    spec = {"ports": [{"name": "http", "port": 80, "nodePort": 30080}]}
    here, there = endpoint("10.244.0.2"), endpoint("10.244.1.2", "b")
    internal = rules(service(internalTrafficPolicy="Local", **spec), slice_(here, there))
    assert "10.244.1.2" not in " ".join(internal.chains["svc/ns/web/tcp/http"])
    assert "10.244.1.2" in " ".join(internal.chains["ext/ns/web/tcp/http"])
    external = rules(service(externalTrafficPolicy="Local", **spec), slice_(here, there))
    *inside, outside = external.chains["ext/ns/web/tcp/http"]
    assert "10.244.1.2" not in outside
    assert inside[0] == f"ip saddr {CIDR} goto all/ns/web/tcp/http"
    assert rules(service(internalTrafficPolicy="Local"), slice_(there)).chains["svc/ns/web/tcp/http"] == ("drop",)
    assert (
        rules(service(externalTrafficPolicy="Local", **spec), slice_(there)).chains["ext/ns/web/tcp/http"][-1] == "drop"
    )


def test_affinity_has_a_set_an_endpoint_with_its_time() -> None:
    spec = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}
    made = rules(service(**spec), slice_(endpoint("10.244.0.2"), endpoint("10.244.1.2", "b")))
    assert len(made.sets) == 2
    assert all("timeout 60s" in definition for definition in made.sets.values())
    assert made.chains["ep/ns/web/tcp/http/10.244.0.2/8080"][0].startswith("update @aff/")


def test_a_node_port_claimed_twice_stays_with_the_first() -> None:
    merged = Rules()
    merged.merge(Rules(elements={NODE_PORTS: {"tcp . 30080": "goto first"}}))
    merged.merge(Rules(elements={NODE_PORTS: {"tcp . 30080": "goto second", "tcp . 30081": "goto second"}}))
    assert merged.elements[NODE_PORTS] == {"tcp . 30080": "goto first", "tcp . 30081": "goto second"}


def test_a_change_is_the_difference_in_an_order_that_references_allow() -> None:
    one, two = (rules(service(), slice_(endpoint(ip))) for ip in ("10.244.0.2", "10.244.0.3"))
    assert change(one, one) == ""
    assert "add element ip kubeto-proxy service-ips" not in change(one, two)
    assert "flush chain ip kubeto-proxy svc/ns/web/tcp/http" in change(one, two)
    removal = change(one, Rules()).splitlines()
    assert removal.index("delete element ip kubeto-proxy service-ips { 10.96.0.5 . tcp . 80 }") < removal.index(
        "delete chain ip kubeto-proxy svc/ns/web/tcp/http"
    )
    assert change(Rules(), one) in replace(one)


def test_udp_flows_to_gone_endpoints_are_stale() -> None:
    fronts = {("10.96.0.5", 53): frozenset({("10.244.0.2", 53)}), ("", 30053): frozenset({("10.244.0.2", 53)})}
    good = Flow(("10.96.0.5", 53), ("10.244.0.2", 53), b"1")
    gone = Flow(("10.96.0.5", 53), ("10.244.0.9", 53), b"2")
    untranslated = Flow(("10.96.0.5", 53), ("10.96.0.5", 53), b"3")
    by_node_port = Flow(("172.30.0.2", 30053), ("10.244.0.9", 53), b"4")
    elsewhere = Flow(("203.0.113.5", 30053), ("203.0.113.5", 30053), b"5")
    assert stale([good, gone, untranslated, by_node_port, elsewhere], fronts) == [gone, untranslated, by_node_port]
