"""Cluster names by the DNS specification, and everything else by way of the resolvers. dnslib is the client."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from dnslib import EDNS0, QTYPE, RR, DNSBuffer, DNSHeader, DNSRecord

from apimachinery.client.informer import InformerFactory
from apimachinery.scheme import ENDPOINT_SLICES, SERVICES
from node.dns.message import Query
from node.dns.server import Server
from node.dns.upstream import Resolvers, Upstream
from node.dns.zone import Zone
from tests import fakes

DNS_IP = "10.96.0.10"


class Resolver(asyncio.DatagramProtocol):
    """Answers every name but ``silent`` with 203.0.113.7, after waiting for ``hold``."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.task = asyncio.ensure_future(self.answer(DNSRecord.parse(data), addr))

    async def answer(self, query: DNSRecord, addr: Any) -> None:
        self.asked.append(str(query.q.qname))
        await self.hold.wait()
        if "silent" in str(query.q.qname):
            return
        reply = query.reply()
        reply.add_answer(*RR.fromZone(f"{query.q.qname} 60 A 203.0.113.7"))
        self.transport.sendto(reply.pack(), addr)


class Dns:
    def __init__(self, cluster: fakes.FakeCluster, server: Server, resolver: Resolver) -> None:
        self.cluster, self.server, self.resolver = cluster, server, resolver

    async def ask(self, name: str, type_: str = "A", *, edns: int = 0, tcp: bool = False) -> DNSRecord:
        query = DNSRecord.question(name, type_)
        if edns:
            query.add_ar(EDNS0(udp_len=edns))
        data = bytes(query.pack())
        answer = self.server.answer_now(data, tcp=tcp)
        if isinstance(answer, Query):
            answer = await self.server.answer_later(answer, data, tcp=tcp)
        reply = DNSRecord.parse(answer)
        assert reply.header.id == query.header.id
        assert str(reply.q.qname) == str(query.q.qname)
        return reply


def short(reply: DNSRecord) -> list[str]:
    return sorted(f"{QTYPE[rr.rtype]} {rr.rdata}" for rr in reply.rr)


def code(reply: DNSRecord) -> str:
    """NXDOMAIN and NODATA both need the SOA record, which says how long they hold."""
    if not reply.rr:
        assert [QTYPE[rr.rtype] for rr in reply.auth] == ["SOA"]
    return {0: "NOERROR" if reply.rr else "NODATA", 2: "SERVFAIL", 3: "NXDOMAIN"}[reply.header.rcode]


def service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    return {"metadata": {"namespace": "ns", "name": name}, "spec": {"ports": ports, **spec}}


def slice_(name: str, *endpoints: dict[str, Any]) -> dict[str, Any]:
    meta = {"namespace": "ns", "name": f"{name}-x", "labels": {"kubernetes.io/service-name": name}}
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    return {"metadata": meta, "addressType": "IPv4", "ports": ports, "endpoints": list(endpoints)}


@pytest.fixture
async def dns(tmp_path: Path) -> AsyncIterator[Dns]:
    cluster = fakes.FakeCluster()
    client = fakes.client(cluster)
    informers = InformerFactory(client)
    zone = Zone(informers, "cluster.local", DNS_IP)
    cluster.create(SERVICES, service("web", clusterIP="10.96.1.1"))
    cluster.create(SERVICES, service("db", clusterIP="None"))
    cluster.create(SERVICES, service("empty", clusterIP="None"))
    cluster.create(SERVICES, service("out", type="ExternalName", externalName="example.org"))
    cluster.create(SERVICES, service("inner", type="ExternalName", externalName="web.ns.svc.cluster.local"))
    named = {"addresses": ["10.244.1.2"], "hostname": "db-0", "conditions": {"ready": True}}
    plain = {"addresses": ["10.244.2.2"], "conditions": {}}
    late = {"addresses": ["10.244.3.2"], "conditions": {"ready": False}}
    cluster.create(ENDPOINT_SLICES, slice_("db", named, plain, late))
    running = asyncio.create_task(informers.run())
    loop = asyncio.get_running_loop()
    transport, resolver = await loop.create_datagram_endpoint(Resolver, local_addr=("127.0.0.1", 0))
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text(f"# ours\nnameserver {DNS_IP}\nsearch example\nnameserver 127.0.0.1\n")
    upstream = Upstream(Resolvers(str(resolv_conf), [DNS_IP]), transport.get_extra_info("sockname")[1])
    server = Server(zone, upstream)
    informers.informer(SERVICES).add_handler(lambda *_: server.forget())
    informers.informer(ENDPOINT_SLICES).add_handler(lambda *_: server.forget())
    await informers.wait_synced()
    yield Dns(cluster, server, resolver)
    transport.close()
    running.cancel()
    await client.close()


@pytest.mark.parametrize(
    ("name", "type_", "expected"),
    [
        ("web.ns.svc.cluster.local", "A", ["A 10.96.1.1"]),
        ("WEB.ns.svc.Cluster.Local", "A", ["A 10.96.1.1"]),
        ("db.ns.svc.cluster.local", "A", ["A 10.244.1.2", "A 10.244.2.2"]),
        ("db-0.db.ns.svc.cluster.local", "A", ["A 10.244.1.2"]),
        ("10-244-2-2.db.ns.svc.cluster.local", "A", ["A 10.244.2.2"]),
        ("_http._tcp.web.ns.svc.cluster.local", "SRV", ["SRV 0 100 80 web.ns.svc.cluster.local."]),
        (
            "_http._tcp.db.ns.svc.cluster.local",
            "SRV",
            ["SRV 0 100 8080 10-244-2-2.db.ns.svc.cluster.local.", "SRV 0 100 8080 db-0.db.ns.svc.cluster.local."],
        ),
        ("10-1-2-3.ns.pod.cluster.local", "A", ["A 10.1.2.3"]),
        ("1.1.96.10.in-addr.arpa", "PTR", ["PTR web.ns.svc.cluster.local."]),
        ("2.1.244.10.in-addr.arpa", "PTR", ["PTR db-0.db.ns.svc.cluster.local."]),
        ("dns-version.cluster.local", "TXT", ['TXT "1.1.0"']),
        ("ns.dns.cluster.local", "A", [f"A {DNS_IP}"]),
        ("cluster.local", "NS", ["NS ns.dns.cluster.local."]),
        ("inner.ns.svc.cluster.local", "A", ["A 10.96.1.1", "CNAME web.ns.svc.cluster.local."]),
        ("out.ns.svc.cluster.local", "CNAME", ["CNAME example.org."]),
        ("out.ns.svc.cluster.local", "A", ["A 203.0.113.7", "CNAME example.org."]),
        ("example.com", "A", ["A 203.0.113.7"]),
    ],
)
async def test_records(dns: Dns, name: str, type_: str, expected: list[str]) -> None:
    assert short(await dns.ask(name, type_)) == expected
    assert short(await dns.ask(name, type_)) == expected  # from memory


@pytest.mark.parametrize(
    ("name", "type_", "expected"),
    [
        ("web.ns.svc.cluster.local", "AAAA", "NODATA"),
        ("ns.svc.cluster.local", "A", "NODATA"),
        ("svc.cluster.local", "A", "NODATA"),
        ("cluster.local", "A", "NODATA"),
        ("_tcp.web.ns.svc.cluster.local", "SRV", "NODATA"),
        ("nope.ns.svc.cluster.local", "A", "NXDOMAIN"),
        ("empty.ns.svc.cluster.local", "A", "NXDOMAIN"),
        ("other.svc.cluster.local", "A", "NXDOMAIN"),
        ("example.com.ns.svc.cluster.local", "A", "NXDOMAIN"),
        ("example.com.cluster.local", "A", "NXDOMAIN"),
        ("_ftp._tcp.web.ns.svc.cluster.local", "SRV", "NXDOMAIN"),
        ("_http._udp.web.ns.svc.cluster.local", "SRV", "NXDOMAIN"),
        ("10-1-2.ns.pod.cluster.local", "A", "NXDOMAIN"),
    ],
)
async def test_no_such_name_and_no_such_record_differ(dns: Dns, name: str, type_: str, expected: str) -> None:
    assert code(await dns.ask(name, type_)) == expected
    assert not dns.resolver.asked


async def test_answers_follow_the_services(dns: Dns) -> None:
    assert code(await dns.ask("new.ns.svc.cluster.local")) == "NXDOMAIN"
    dns.cluster.create(SERVICES, service("new", clusterIP="10.96.1.9"))
    async with asyncio.timeout(5):
        while short(await dns.ask("new.ns.svc.cluster.local")) != ["A 10.96.1.9"]:
            await asyncio.sleep(0)


async def test_a_large_answer_is_cut_by_udp_and_whole_by_tcp(dns: Dns) -> None:
    many = [{"addresses": [f"10.244.9.{n}"], "conditions": {"ready": True}} for n in range(1, 61)]
    dns.cluster.create(ENDPOINT_SLICES, slice_("empty", *many))
    name = "empty.ns.svc.cluster.local"
    async with asyncio.timeout(5):
        while len((await dns.ask(name, tcp=True)).rr) != 60:
            await asyncio.sleep(0)
    plain, wide = await dns.ask(name), await dns.ask(name, edns=4096)
    assert plain.header.tc
    assert not plain.rr
    assert not wide.header.tc
    assert len(wide.rr) == 60


async def test_questions_that_wait_together_are_asked_once_and_remembered(dns: Dns) -> None:
    dns.resolver.hold.clear()
    waiting = [asyncio.ensure_future(dns.ask(name)) for name in ("example.com", "Example.Com", "example.com")]
    async with asyncio.timeout(5):
        while not dns.resolver.asked:
            await asyncio.sleep(0)
    dns.resolver.hold.set()
    assert [short(reply) for reply in await asyncio.gather(*waiting)] == [["A 203.0.113.7"]] * 3
    await dns.ask("example.com")
    assert len(dns.resolver.asked) == 1


async def test_a_server_that_is_the_only_resolver_never_asks_itself(dns: Dns, tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text(f"nameserver {DNS_IP}\n")
    reply = await dns.ask("example.com")
    assert reply.header.rcode == 2
    assert not dns.resolver.asked


@pytest.mark.parametrize("data", [b"", b"\0\1", b"\0\1\1\0\0\1\0\0\0\0\0\0\x40", bytes(12), b"\xff" * 40])
async def test_garbage_gets_a_refusal_or_nothing(dns: Dns, data: bytes) -> None:
    answer = dns.server.answer_now(data)
    assert isinstance(answer, bytes)
    assert not answer or DNSHeader.parse(DNSBuffer(answer)).get_rcode() in (1, 4)
