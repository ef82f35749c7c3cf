"""Connections from the API server to pods: straight to the address where there is a route, else through the node.

In process mode (and wherever the control plane stands outside the pod network) nothing leads from here to a pod's
address. Its node's agent can always reach it, so the connection is then carried by a PortForward stream, which ends
inside the pod: the pod sees it come from its own loopback.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpcore

from apimachinery import meta, pods, scheme
from apimachinery.errors import ApiError
from apimachinery.logging import get_logger

from ..registry.reader import Object, Reader
from . import pod_target, port_forward
from .node_agents import NodeAgents

DIRECT_SECONDS = 1.0
"""How long a direct connection may take where there is another way; without one, the caller's own limit."""

_log = get_logger(__name__)


class PodDialer:
    """Opens sockets; ``close`` ends those that go through nodes."""

    def __init__(self, reader: Reader, agents: NodeAgents) -> None:
        self._reader, self._agents = reader, agents
        self._carried: set[asyncio.Task[None]] = set()

    async def connect(self, host: str, port: int, timeout: float) -> socket.socket:
        """A connected, non-blocking socket. Raises OSError (TimeoutError among them)."""
        pod = self._pod_at(host)
        try:
            return await _direct(host, port, timeout if pod is None else min(timeout, DIRECT_SECONDS))
        except OSError:
            if pod is None:
                raise
        try:
            return self._through_node(pod, port)
        except ApiError as error:
            raise OSError(error.message) from error

    async def close(self) -> None:
        for task in self._carried:
            task.cancel()
        await asyncio.gather(*self._carried, return_exceptions=True)

    def _pod_at(self, ip: str) -> Object | None:
        """The running pod with this address, unless it shares its node's."""
        for pod in self._reader.list(scheme.PODS):
            if (pod.get("status") or {}).get("podIP") == ip and not pods.is_finished(pod):
                return None if (pod.get("spec") or {}).get("hostNetwork") else pod
        return None

    def _through_node(self, pod: Object, port: int) -> socket.socket:
        where = pod_target.target(pod)
        agent = self._agents.stub(where.node)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        carrying = _carry(agent, where, port, theirs)
        task = asyncio.create_task(carrying, name=f"pod-connection-{meta.name_of(pod)}")
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)
        return ours


def is_proxyable(ip: str) -> bool:
    """Whether a pod could have this address. Who may write a pod's status must not lead us to our own loopback."""
    address = ipaddress.ip_address(ip)
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


async def _direct(host: str, port: int, timeout: float) -> socket.socket:
    if not is_proxyable(host):
        raise OSError("address not allowed")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _carry(agent: Any, where: pod_target.PodTarget, port: int, sock: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        await port_forward.forward(lambda: agent.PortForward(None), where, port, _SocketSide(reader, writer))
    finally:
        writer.close()


class _SocketSide:
    """A ``ForwardSide`` that is one end of a socket pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def inputs(self) -> AsyncIterator[bytes]:
        while data := await self._reader.read(64 * 1024):
            yield data

    async def output(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def fail(self, message: str) -> None:
        _log.info("A connection to a pod failed", error=message)

    async def end(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.write_eof()


class DialerBackend(httpcore.AsyncNetworkBackend):
    """Lets an HTTP client's pool open its connections by a ``PodDialer``."""

    def __init__(self, dialer: PodDialer, connect_seconds: float) -> None:
        self._dialer, self._connect_seconds = dialer, connect_seconds

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            sock = await self._dialer.connect(host, port, timeout or self._connect_seconds)
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
