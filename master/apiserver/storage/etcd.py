"""The store on a real etcd: aetcd's messages on channels of our own.

aetcd's client opens one insecure channel to one host and hides the watch's progress, and grpc.aio costs five times the
CPU (``http2``). A channel reconnects by itself; when a server does not answer, the next one is asked. A read is tried
again there; a write is not, for it may have happened.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aetcd import rpc

from apimachinery.flags import flag, names, required

from .channel import Channel, RpcError
from .interface import Change, Compacted, Delete, Mismatch, Op, Page, Put, Stored, TooLarge, Unavailable

CALL_TIMEOUT = 10.0
LEASE_WINDOW = 60
"""Keys written within this many seconds share a lease, as upstream: a lease for every event would be too dear."""

_COMPACTED = "required revision has been compacted"
_TOO_LARGE = ("request is too large", "received message larger than max")


@dataclass(frozen=True, slots=True)
class EtcdAccess:
    """Where etcd is: ``--etcd-servers`` as URLs, and PEM files for https."""

    servers: tuple[str, ...] = required("etcd servers, comma separated", parse=names)
    ca_file: str = flag("", "CA of etcd's certificates", name="cafile")
    cert_file: str = flag("", "client certificate for etcd", name="certfile")
    key_file: str = flag("", "its key", name="keyfile")


def _open(access: EtcdAccess, url: str) -> Channel:
    parts = urlsplit(url if "//" in url else f"http://{url}")
    host, port = parts.hostname or "", parts.port or 2379
    if parts.scheme == "http":
        return Channel(host, port, None)
    tls = ssl.create_default_context(cafile=access.ca_file or None)
    tls.set_alpn_protocols(["h2"])
    if access.cert_file:
        tls.load_cert_chain(access.cert_file, access.key_file or None)
    return Channel(host, port, tls)


def _raw(key: str) -> bytes:
    """Keys of others need not be text."""
    return key.encode(errors="surrogateescape")


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all that begin with ``prefix``, which must not end in 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


_Method = tuple[bytes, Any]
"""A method's path and the type of its replies."""
_RANGE: _Method = (b"/etcdserverpb.KV/Range", rpc.RangeResponse)
_TXN: _Method = (b"/etcdserverpb.KV/Txn", rpc.TxnResponse)
_COMPACT: _Method = (b"/etcdserverpb.KV/Compact", rpc.CompactionResponse)
_GRANT: _Method = (b"/etcdserverpb.Lease/LeaseGrant", rpc.LeaseGrantResponse)
_WATCH = b"/etcdserverpb.Watch/Watch"


class EtcdStorage:
    """Implements ``Storage``."""

    def __init__(self, access: EtcdAccess) -> None:
        self._servers = [_open(access, url) for url in access.servers]
        self._current = 0
        self._leases: dict[int, tuple[int, float]] = {}

    async def close(self) -> None:
        for server in self._servers:
            server.close()

    @property
    def servers(self) -> int:
        return len(self._servers)

    async def ailment(self, index: int) -> str:
        """Why one of the servers does not answer a consistent read; "" if it does."""
        request = rpc.RangeRequest(key=b"\0", count_only=True)
        try:
            await self._servers[index].unary(_RANGE[0], request, _RANGE[1], CALL_TIMEOUT)
        except RpcError as error:
            return error.details or str(error.code)
        return ""

    async def get(self, key: str) -> Stored | None:
        reply = await self._read(_RANGE, rpc.RangeRequest(key=_raw(key)))
        return _stored(reply.kvs[0]) if reply.kvs else None

    async def page(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        request = rpc.RangeRequest(
            key=_raw(start or prefix), range_end=prefix_end(prefix.encode()), limit=limit, revision=revision
        )
        reply = await self._read(_RANGE, request)
        return Page([_stored(kv) for kv in reply.kvs], revision or reply.header.revision, reply.more, reply.count)

    async def revision(self) -> int:
        request = rpc.RangeRequest(key=b"\0", count_only=True)
        reply = await self._read(_RANGE, request)
        return int(reply.header.revision)

    async def commit(self, ops: Sequence[Op]) -> int:
        request = rpc.TxnRequest()
        for op in ops:
            key = _raw(op.key)
            if op.expected is not None:
                request.compare.add(result=0, target=2, key=key, mod_revision=op.expected)
            request.failure.add(request_range=rpc.RangeRequest(key=key))
            if isinstance(op, Put):
                lease = await self._lease(op.ttl_seconds) if op.ttl_seconds else 0
                request.success.add(request_put=rpc.PutRequest(key=key, value=op.value, lease=lease))
            else:
                request.success.add(request_delete_range=rpc.DeleteRangeRequest(key=key))
        reply = await self._call(_TXN, request)
        if not reply.succeeded:
            raise Mismatch({op.key: _found(r) for op, r in zip(ops, reply.responses, strict=True)})
        return int(reply.header.revision)

    async def compact(self, revision: int) -> None:
        request = rpc.CompactionRequest(revision=revision)
        try:
            await self._call(_COMPACT, request)
        except Compacted:
            return

    async def watch(self, prefix: str, after: int) -> AsyncIterator[list[Change]]:
        index = self._current
        key = _raw(prefix)
        create = rpc.WatchCreateRequest(key=key, range_end=prefix_end(key), start_revision=after + 1)
        replies = self._servers[index].stream(_WATCH, rpc.WatchRequest(create_request=create), rpc.WatchResponse)
        try:
            async for reply in replies:
                if reply.canceled:
                    raise (
                        Compacted(reply.compact_revision)
                        if reply.compact_revision
                        else Unavailable(f"etcd cancelled the watch: {reply.cancel_reason}")
                    )
                if reply.events:
                    yield [_change(event) for event in reply.events]
        except RpcError as error:
            raise self._translate(error, index) from error
        finally:
            await replies.aclose()
        raise Unavailable("etcd ended the watch")

    async def _lease(self, ttl: int) -> int:
        held = self._leases.get(ttl)
        now = time.monotonic()
        if held and held[1] > now:
            return held[0]
        request = rpc.LeaseGrantRequest(TTL=ttl + LEASE_WINDOW)
        reply = await self._call(_GRANT, request)
        self._leases[ttl] = int(reply.ID), now + LEASE_WINDOW
        return int(reply.ID)

    async def _read(self, method: _Method, request: Any) -> Any:
        """Ask the servers in turn, beginning with the one that answered last."""
        for attempt in range(len(self._servers)):
            try:
                return await self._call(method, request)
            except Unavailable:
                if attempt == len(self._servers) - 1:
                    raise
        raise AssertionError("no etcd server is configured")

    async def _call(self, method: _Method, request: Any) -> Any:
        index = self._current
        try:
            return await self._servers[index].unary(method[0], request, method[1], CALL_TIMEOUT)
        except RpcError as error:
            raise self._translate(error, index) from error

    def _translate(self, error: RpcError, index: int) -> Exception:
        """The error in our words; the server at ``index`` is left, once, however many calls to it fail."""
        details = error.details
        if _COMPACTED in details:
            return Compacted()
        if any(text in details for text in _TOO_LARGE):
            return TooLarge(details)
        if "requested lease not found" in details:  # revoked behind our back: the next write asks for a new one
            self._leases.clear()
        if index == self._current:
            self._current = (index + 1) % len(self._servers)
        return Unavailable(f"etcd: {details or error.code}")


def _stored(kv: Any) -> Stored:
    return Stored(kv.key.decode(errors="surrogateescape"), kv.value, kv.mod_revision)


def _found(response: Any) -> Stored | None:
    kvs = response.response_range.kvs
    return _stored(kvs[0]) if kvs else None


def _change(event: Any) -> Change:
    kv = event.kv
    return Change(kv.key.decode(errors="surrogateescape"), kv.value if event.type == 0 else None, kv.mod_revision)


async def wait_until_reachable(storage: EtcdStorage, tell: Callable[[str], None]) -> None:
    """Return once etcd answers; say every few seconds why it does not."""
    told = 0.0
    while True:
        try:
            await storage.revision()
        except Unavailable as error:
            if time.monotonic() - told > 5:
                told = time.monotonic()
                tell(str(error))
            await asyncio.sleep(0.2)
        else:
            return


__all__ = ["Delete", "EtcdAccess", "EtcdStorage", "Put", "prefix_end", "wait_until_reachable"]
