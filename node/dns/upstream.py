"""The node's own resolvers: all names that are not the cluster's are asked there, and nowhere else.

Guarantees: only the resolvers in resolv.conf(5) are ever contacted, and never an address that this server listens on;
identical questions that wait at the same time are asked once; an answer is believed only if it comes from the resolver
asked, with the ID and question sent, to a port chosen at random for it; each question ends within a bound.
"""

import asyncio
import secrets
import struct
import time
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path

from apimachinery.logging import get_logger
from node.dns import message
from node.dns.message import Malformed, Query

_log = get_logger(__name__)

_TIMEOUT_SECONDS = 2.0
_ROUNDS = 2
_CACHE_ANSWERS = 2000
_CACHE_SECONDS = 30
_CACHED_RCODES = (message.NOERROR, message.NXDOMAIN)
_MOST_AT_ONCE = 1000
_PORT = 53
_FLAGS = 0x0130  # recursion desired, authentic data, checking disabled: they may change the answer

Key = tuple[bytes, bytes, int, bool]
"""Question, rest of the message (EDNS), flags, whether by TCP."""


class Unanswered(Exception):
    """No resolver gave an answer, or there is none to ask."""


class Resolvers:
    """The nameservers of a resolv.conf, read again when it changes."""

    def __init__(self, path: str, own: Collection[str]) -> None:
        self._path, self._own = Path(path), frozenset(own)
        self._stamp, self._current = -1, list[str]()

    def current(self) -> list[str]:
        try:
            stamp = self._path.stat().st_mtime_ns
        except OSError:
            return self._current
        if stamp != self._stamp:
            self._stamp = stamp
            lines = (line.split() for line in self._path.read_text().splitlines())
            found = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
            self._current = [ip for ip in found if ip not in self._own]
            _log.info("Upstream resolvers", addresses=self._current)
        return self._current


class Upstream:
    def __init__(self, resolvers: Resolvers, port: int = _PORT) -> None:
        self._resolvers, self._port = resolvers, port
        self._waiting: dict[Key, asyncio.Future[bytes]] = {}
        self._cache = _Cache()

    async def resolve(self, query: Query, data: bytes, *, tcp: bool = False) -> bytes:
        """The answer to the client's message ``data``. Raises Unanswered."""
        rest, flags = data[12 + len(query.question) :], int.from_bytes(data[2:4], "big") & _FLAGS
        key = query.question.lower(), rest, flags, tcp
        found = self._cache.get(key) or await self._shared(key, query, data)
        return struct.pack("!H", query.id) + found[2:12] + query.question + found[12 + len(query.question) :]

    async def _shared(self, key: Key, query: Query, data: bytes) -> bytes:
        """Ask, or wait with others for the same."""
        waiting = self._waiting.get(key)
        if waiting is None:
            if len(self._waiting) >= _MOST_AT_ONCE:
                raise Unanswered("too many questions at once")
            waiting = self._waiting[key] = asyncio.ensure_future(self._ask(query, data, tcp=key[3]))
            waiting.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(waiting)

    def _asked(self, key: Key, done: "asyncio.Future[bytes]") -> None:
        del self._waiting[key]
        if not done.cancelled() and done.exception() is None:
            self._cache.put(key, done.result())

    async def _ask(self, query: Query, data: bytes, *, tcp: bool) -> bytes:
        for _ in range(_ROUNDS):
            for address in self._resolvers.current():
                try:
                    async with asyncio.timeout(_TIMEOUT_SECONDS):
                        return await (_ask_tcp if tcp else _ask_udp)(address, self._port, query, data)
                except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                    _log.debug("Resolver did not answer", address=address, error=repr(error))
        raise Unanswered("no upstream resolver answered")


class _Cache:
    """Answers by question, for as long as their records live, at most half a minute."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Key, tuple[float, bytes, list[int]]] = OrderedDict()

    def get(self, key: Key) -> bytes | None:
        """The answer with its times to live reduced by its age."""
        entry = self._answers.get(key)
        if entry is None:
            return None
        stored, answer, offsets = entry
        age = int(time.monotonic() - stored)
        aged = bytearray(answer)
        for offset in offsets:
            left = int.from_bytes(answer[offset : offset + 4], "big") - age
            if left <= 0 or age >= _CACHE_SECONDS:
                del self._answers[key]
                return None
            aged[offset : offset + 4] = left.to_bytes(4, "big")
        return bytes(aged)

    def put(self, key: Key, answer: bytes) -> None:
        truncated, rcode = answer[2] & 0x02, answer[3] & 0x0F
        try:
            offsets = message.ttl_offsets(answer)
        except Malformed:
            return
        if not offsets or truncated or rcode not in _CACHED_RCODES:
            return
        self._answers[key] = time.monotonic(), answer, offsets
        if len(self._answers) > _CACHE_ANSWERS:
            self._answers.popitem(last=False)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, expected: bytes, question: bytes) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._id, self._question = expected, question.lower()

    def datagram_received(self, data: bytes, addr: object) -> None:
        ours = data[:2] == self._id and data[12 : 12 + len(self._question)].lower() == self._question
        if ours and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _ask_udp(address: str, port: int, query: Query, data: bytes) -> bytes:
    id_ = secrets.token_bytes(2)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: _Datagrams(id_, query.question), remote_addr=(address, port)
    )
    try:
        transport.sendto(id_ + data[2:])
        return await protocol.answer
    finally:
        transport.close()


async def _ask_tcp(address: str, port: int, query: Query, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(struct.pack("!H", len(data)) + data)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = await reader.readexactly(length)
    finally:
        writer.close()
    if answer[:2] != data[:2] or answer[12 : 12 + len(query.question)].lower() != query.question.lower():
        raise OSError("the answer is to another question")
    return answer
