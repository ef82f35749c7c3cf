"""HTTP over the connections that ``dial`` opens: one pool of kept connections for each way to trust the other end."""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import httpcore

from .trust import Connect, Trust

CONNECT_SECONDS = 10.0
_IDLE_CONNECTIONS, _IDLE_SECONDS = 64, 30.0
_MAX_POOLS = 64

CUT_OFF = (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError)
"""How it shows that the other end has closed the connection."""
BROKEN = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)
"""What goes wrong on the way to the other end and back."""


class Pools:
    """The pools in use, the longest unused one closed when there are too many."""

    def __init__(self, connect: Connect) -> None:
        self._backend = _Backend(connect)
        self._pools: OrderedDict[Trust, httpcore.AsyncConnectionPool] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, trust: Trust) -> httpcore.AsyncConnectionPool:
        """Raises OSError for what is no certificate."""
        pool = self._pools.get(trust)
        if pool is None:
            pool = self._pools[trust] = httpcore.AsyncConnectionPool(
                ssl_context=trust.context(),
                max_connections=None,
                max_keepalive_connections=_IDLE_CONNECTIONS,
                keepalive_expiry=_IDLE_SECONDS,
                network_backend=self._backend,
            )
            if len(self._pools) > _MAX_POOLS:
                _, unused = self._pools.popitem(last=False)
                task = asyncio.create_task(unused.aclose(), name="close-connection-pool")
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        self._pools.move_to_end(trust)
        return pool

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            sock = await self._connect(host, port, timeout or CONNECT_SECONDS)
        except OSError as error:
            raise httpcore.ConnectError(str(error) or "timed out") from error
        return _NetworkStream(*await asyncio.open_connection(sock=sock))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _NetworkStream(httpcore.AsyncNetworkStream):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                return await self._reader.read(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(buffer)
                await self._writer.drain()
        except TimeoutError as error:
            raise httpcore.WriteTimeout from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        self._writer.close()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except (OSError, ssl.SSLError) as error:
            raise httpcore.ConnectError(str(error)) from error
        return self

    def get_extra_info(self, info: str) -> Any:
        # The pool asks before it uses an idle connection again: readable means that the peer has closed it.
        return self._reader.at_eof() if info == "is_readable" else None
