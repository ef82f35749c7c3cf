"""Listen by UDP and TCP, answer for the cluster's domain at once, and for all else by way of the upstream resolvers.

The answer to a question about the cluster is built once and kept, encoded, until any Service or EndpointSlice changes:
what a busy node does then is one dictionary look-up a query.
"""

import asyncio
import random
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from apimachinery.client.informer import InformerFactory
from apimachinery.logging import get_logger
from apimachinery.scheme import ENDPOINT_SLICES, SERVICES
from node.dns import message
from node.dns.message import Malformed, Query
from node.dns.upstream import Resolvers, Unanswered, Upstream
from node.dns.zone import Answer, Zone

if TYPE_CHECKING:
    from dnslib import RR

_log = get_logger(__name__)

_KEPT_ANSWERS = 4096
_TCP_IDLE_SECONDS = 10.0
_TCP_CONNECTIONS = 200
_BIND_RETRY_SECONDS = 0.5
_LONGEST_CHAIN = 8

Peer = tuple[str, int]


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """``address`` is the cluster DNS address, which ``node.routes`` puts on a link of this namespace."""

    address: str
    port: int = 53
    domain: str = "cluster.local"
    resolv_conf: str = "/etc/resolv.conf"
    upstream_port: int = 53


class Server:
    def __init__(self, zone: Zone, upstream: Upstream) -> None:
        self._zone, self._upstream = zone, upstream
        # Encoded answers by (question as written, EDNS size); only such as are the same each time.
        self._kept: dict[tuple[bytes, int], bytes] = {}

    def forget(self) -> None:
        """The records have changed."""
        self._kept.clear()

    def answer_now(self, data: bytes, *, tcp: bool = False) -> bytes | Query:
        """The answer, or the query if it takes an upstream resolver; b"" for what deserves no answer."""
        try:
            query = message.parse(data)
            kept = self._kept.get((query.question, query.udp_bytes))
            if kept is not None:
                return data[:2] + bytes([kept[2] & 0xFE | data[2] & 1]) + kept[3:]
            found = self._zone.lookup(query.name, query.type)
            if found is None or found.alias:
                return query
            return self._encode(query, found, tcp)
        except Malformed as error:
            return message.refusal(data, error.rcode)

    async def answer_later(self, query: Query, data: bytes, *, tcp: bool = False) -> bytes:
        """The answer to what ``answer_now`` gave back."""
        try:
            found = self._zone.lookup(query.name, query.type)
            if found is not None and found.alias:
                return message.fit(query, await self._chase(query, found), tcp=tcp)
            return message.fit(query, await self._upstream.resolve(query, data, tcp=tcp), tcp=tcp)
        except (Unanswered, Malformed) as error:
            _log.debug("No answer", name=query.name, error=str(error))
            return message.answer(query, message.SERVFAIL, authoritative=False)

    def _encode(self, query: Query, found: Answer, tcp: bool) -> bytes:
        records = list(found.records)
        if len(records) > 1:
            random.shuffle(records)  # clients take the first: spread them over a headless Service's endpoints
        authority = () if records else (self._zone.authority(),)
        whole = message.answer(query, found.rcode, records, authority, found.additional)
        fitted = message.fit(query, whole, tcp=tcp)
        if len(records) <= 1 and fitted is whole and len(self._kept) < _KEPT_ANSWERS and not tcp:
            self._kept[query.question, query.udp_bytes] = whole
        return fitted

    async def _chase(self, query: Query, found: Answer) -> bytes:
        """Add what an alias stands for, itself perhaps a name of the cluster, as CoreDNS does."""
        records, name = list(found.records), ""
        alias = found.alias
        for _ in range(_LONGEST_CHAIN):
            inner = self._zone.lookup(alias, query.type)
            if inner is None:
                return await self._chase_upstream(query, records, alias)
            name = alias
            records += [message.Record(each.type, each.data, each.ttl, name) for each in inner.records]
            if not inner.alias:
                return message.answer(query, inner.rcode, records)
            alias = inner.alias
        raise Malformed(message.SERVFAIL)

    async def _chase_upstream(self, query: Query, records: list[message.Record], alias: str) -> bytes:
        from dnslib import DNSRecord  # rarely needed, and 2 MB

        asked = message.question(alias, query.type)
        answer = DNSRecord.parse(await self._upstream.resolve(message.parse(asked), asked))
        records += [_repacked(each) for each in answer.rr]
        return message.answer(query, answer.header.rcode, records)


def _repacked(found: "RR") -> message.Record:
    """A record of an upstream answer without name compression, to stand in another message."""
    from dnslib import DNSBuffer

    buffer = DNSBuffer()
    buffer.encode_name = buffer.encode_name_nocompress
    found.rdata.pack(buffer)
    return message.Record(found.rtype, bytes(buffer.data), found.ttl, str(found.rname).rstrip("."))


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Peer) -> None:
        answer = self._server.answer_now(data)
        if isinstance(answer, Query):
            task = asyncio.ensure_future(self._later(answer, data, addr))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif answer and self._transport is not None:
            self._transport.sendto(answer, addr)

    async def _later(self, query: Query, data: bytes, addr: Peer) -> None:
        answer = await self._server.answer_later(query, data)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer, addr)


class _Streams:
    def __init__(self, server: Server) -> None:
        self._server, self._open = server, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Queries one after the other until the client leaves, or says nothing for a while."""
        self._open += 1
        try:
            while self._open <= _TCP_CONNECTIONS:
                async with asyncio.timeout(_TCP_IDLE_SECONDS):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
                answer = self._server.answer_now(data, tcp=True)
                if isinstance(answer, Query):
                    answer = await self._server.answer_later(answer, data, tcp=True)
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client is gone or idle: nothing to tell anyone
        finally:
            self._open -= 1
            writer.close()


async def run(informers: InformerFactory, config: DnsConfig) -> None:
    """Serve DNS until cancelled; begins when the records are known and the address is there."""
    zone = Zone(informers, config.domain, config.address)
    server = Server(zone, Upstream(Resolvers(config.resolv_conf, [config.address]), config.upstream_port))
    for kind in (SERVICES, ENDPOINT_SLICES):
        informer = informers.informer(kind)
        informer.add_handler(lambda *_: server.forget())
        await informer.wait_synced()
    loop = asyncio.get_running_loop()
    streams = await _listening(lambda: asyncio.start_server(_Streams(server).serve, config.address, config.port))
    async with streams:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(server), local_addr=(config.address, config.port)
        )
        _log.info("Serving DNS", address=config.address, port=config.port, domain=config.domain)
        try:
            await loop.create_future()
        finally:
            transport.close()


async def _listening(start: Callable[[], Awaitable[asyncio.Server]]) -> asyncio.Server:
    """Start as soon as the address is there: it comes with the node's routes."""
    told = False
    while True:
        try:
            return await start()
        except OSError as error:
            if not told:
                _log.info("Waiting for the DNS address", error=str(error))
            told = True
            await asyncio.sleep(_BIND_RETRY_SECONDS)
