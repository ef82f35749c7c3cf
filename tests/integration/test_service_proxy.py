"""Services across two nodes: real packets between pods in namespaces."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.netns import inside, namespace, sh
from tests.integration.network_cluster import OUTSIDE, Cluster, Pod, ask, cluster, endpoints, ours, reference, service
from tests.waiting import eventually

pytestmark = pytest.mark.root
IP = "10.96.7.7"


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path) as made:
        yield made


@pytest.fixture(params=[ours, reference])
def any_plugin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path, request.param) as made:
        yield made


def test_a_service_spreads_over_nodes_and_keeps_the_clients_address(any_plugin: Cluster) -> None:
    c = any_plugin
    first, second = c.nodes
    client, a, b = c.pod(first), c.pod(first), c.pod(second)
    for pod in (a, b):
        c.serve(pod)
    c.put(service("web", IP, type="NodePort", ports=[{"name": "tcp", "port": 80, "nodePort": 30080}]))
    c.put(endpoints("web", a, b))
    eventually(lambda: ask(client.name, IP, 80).endswith(client.ip))
    answers = {ask(client.name, IP, 80) for _ in range(20)}
    assert answers == {f"{a.name} {client.ip}", f"{b.name} {client.ip}"}
    assert ask(client.name, b.ip, 8080) == f"{b.name} {client.ip}"
    for address in (c.nodes[first].ip, c.nodes[second].ip):
        for where in (client.name, first, c.outside):
            eventually(lambda w=where, ip=address: ask(w, ip, 30080).split()[0] in (a.name, b.name))
    assert ask(first, IP, 80).split()[0] in (a.name, b.name)
    c.put(endpoints("web", a))
    eventually(lambda: ask(a.name, IP, 80).split()[0] == a.name)  # a pod reaches itself
    c.put(endpoints("web"))
    eventually(lambda: ask(client.name, IP, 80) == "error ConnectionRefusedError")
    assert ask(client.name, c.nodes[first].ip, 30080) == "error ConnectionRefusedError"
    assert ask(first, IP, 80) == "error ConnectionRefusedError"


def test_affinity_keeps_a_client_with_its_endpoint_until_that_is_gone(c: Cluster) -> None:
    first, second = c.nodes
    client, a, b = c.pod(first), c.pod(first), c.pod(second)
    for pod in (a, b):
        c.serve(pod)
    c.put(service("web", IP, sessionAffinity="ClientIP"))
    c.put(endpoints("web", a, b))
    eventually(lambda: not ask(client.name, IP, 80).startswith("error"))
    (kept,) = {ask(client.name, IP, 80).split()[0] for _ in range(12)}
    other = b if kept == a.name else a
    c.put(endpoints("web", other))
    eventually(lambda: ask(client.name, IP, 80).startswith(other.name))


def test_a_local_policy_keeps_the_outside_clients_address_and_its_node(c: Cluster) -> None:
    first, second = (c.nodes[name] for name in c.nodes)
    a, b = c.pod(first.name), c.pod(first.name)
    for pod in (a, b):
        c.serve(pod)
    ports = [{"name": "tcp", "port": 80, "nodePort": 30080}]
    c.put(service("web", IP, externalTrafficPolicy="Local", sessionAffinity="ClientIP", ports=ports))
    c.put(endpoints("web", a, b))
    eventually(lambda: ask(c.outside, first.ip, 30080).endswith(OUTSIDE))
    assert len({ask(c.outside, first.ip, 30080) for _ in range(8)}) == 1
    assert ask(c.outside, second.ip, 30080, seconds=0.5) == "error TimeoutError"
    assert not ask(second.name, second.ip, 30080).startswith("error")  # a client inside: any endpoint


def test_udp_flows_leave_a_gone_endpoint(c: Cluster) -> None:
    first, second = c.nodes
    client, a, b = c.pod(first), c.pod(first), c.pod(second)
    for pod in (a, b):
        c.serve(pod)
    c.put(service("dns", IP))
    for pod in (a, b, a):
        c.put(endpoints("dns", pod))
        eventually(lambda p=pod: ask(client.name, IP, 80, "udp", source=28053) == f"{p.name} {client.ip}")


def test_what_others_do_to_the_rules_is_repaired(c: Cluster) -> None:
    first, _ = c.nodes
    client, a = c.pod(first), c.pod(first)
    c.serve(a)
    c.put(service("web", IP))
    c.put(endpoints("web", a))
    eventually(lambda: ask(client.name, IP, 80).startswith(a.name))
    inside(first, "nft", "flush", "ruleset")
    eventually(lambda: ask(client.name, IP, 80).startswith(a.name))
    inside(first, "nft", "flush", "chain", "ip", "kubeto-proxy", "svc/default/web/tcp/tcp")
    eventually(lambda: ask(client.name, IP, 80).startswith(a.name))


def test_pod_and_service_packets_never_leave_by_the_uplink(c: Cluster) -> None:
    """Addresses without an owner, with and without our rules; pods do reach the outside, as their node."""
    first, _ = c.nodes
    pod = c.pod(first)
    inside(c.outside, "nft", "-f", "-", text=LEAKS)
    for rules in ("kept", "flushed"):
        if rules == "flushed":
            c.nodes[first].process.kill()
            inside(first, "nft", "flush", "ruleset")
        for where in (pod.name, first):
            for address in ("10.244.77.7", "10.96.3.3", IP):
                for protocol in ("tcp", "udp"):
                    assert ask(where, address, 80, protocol, seconds=0.2).startswith("error")
    assert "packets 0 " in inside(c.outside, "nft", "list", "counter", "netdev", "leaks", "seen")
    sh("ip", "-n", first, "route", "add", "10.244.77.0/24", "via", OUTSIDE)  # the counter would have seen it
    ask(first, "10.244.77.7", 80, "udp", seconds=0.2)
    assert "packets 0 " not in inside(c.outside, "nft", "list", "counter", "netdev", "leaks", "seen")


def test_pods_reach_the_outside_with_their_nodes_address(c: Cluster) -> None:
    first, _ = c.nodes
    pod = c.pod(first)
    with namespace() as world:
        sh("ip", "-n", c.outside, "link", "add", "kwx", "type", "veth", "peer", "name", "eth0", "netns", world)
        sh("ip", "-n", c.outside, "link", "set", "kwx", "up", "master", "kw0")
        sh("ip", "-n", world, "addr", "add", "172.30.0.99/24", "dev", "eth0")
        sh("ip", "-n", world, "link", "set", "eth0", "up")
        c.serve(Pod(world, "172.30.0.99", ""), 8080)
        assert ask(pod.name, "172.30.0.99", 8080) == f"{world} {c.nodes[first].ip}"


def test_pods_resolve_names_by_udp_and_tcp_and_reach_what_they_mean(c: Cluster) -> None:
    first, second = c.nodes
    client, server = c.pod(first), c.pod(second)
    c.serve(server)
    c.put(service("web", IP))
    c.put(endpoints("web", server))

    def dig(*arguments: str) -> str:
        command = ["dig", "@10.96.0.10", "+short", "+tries=1", "+time=3", *arguments]
        return inside(client.name, *command, check=False).strip()

    eventually(lambda: dig("web.default.svc.cluster.local") == IP)
    assert dig("+tcp", "web.default.svc.cluster.local") == IP
    assert dig("-x", server.ip).startswith(server.ip.replace(".", "-"))
    eventually(lambda: ask(client.name, dig("web.default.svc.cluster.local"), 80).startswith(server.name))
    assert "SERVFAIL" in inside(client.name, "dig", "@10.96.0.10", "+time=20", "example.com")
    with upstream_resolver(c.outside):
        eventually(lambda: dig("example.com") == "203.0.113.7")
        assert dig("+tcp", "example.org") == "203.0.113.7"


@contextmanager
def upstream_resolver(where: str) -> Iterator[None]:
    """Answers every name with 203.0.113.7, by UDP and TCP."""
    command = ["ip", "netns", "exec", where, sys.executable, "-m", "dnslib.fixedresolver", "-a", OUTSIDE, "--tcp"]
    with subprocess.Popen([*command, "-r", ". 60 IN A 203.0.113.7"]) as process:
        try:
            yield
        finally:
            process.kill()


LEAKS = """
add table netdev leaks
add counter netdev leaks seen
add chain netdev leaks kw1 { type filter hook ingress device kw1 priority 0 ; }
add rule netdev leaks kw1 ip daddr { 10.244.0.0/16, 10.96.0.0/16 } counter name seen
add rule netdev leaks kw1 arp daddr ip { 10.244.0.0/16, 10.96.0.0/16 } counter name seen
"""
