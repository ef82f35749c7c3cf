"""Connections out of the API server: straight to the address where there is a route, else through the pod's node.

In process mode (and wherever the control plane stands outside the pod network) nothing leads from here to a pod's
address. Its node's agent can always reach it, so the connection is then carried by a PortForward stream, which ends
inside the pod: the pod sees it come from its own loopback.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator
from typing import Any

from apimachinery import meta, pods, scheme
from apimachinery.errors import ApiError
from apimachinery.logging import get_logger

from ..registry.reader import Object, Reader
from ..rest import pod_target, port_forward
from ..rest.node_agents import NodeAgents
from . import services

DIRECT_SECONDS = 1.0
"""How long a direct connection may take where there is another way; without one, the caller's own limit."""

_log = get_logger(__name__)


class Dialer:
    """Opens sockets; ``close`` ends those that go through nodes."""

    def __init__(self, reader: Reader, agents: NodeAgents) -> None:
        self._reader, self._agents = reader, agents
        self._carried: set[asyncio.Task[None]] = set()

    async def connect_pod(self, ip: str, port: int, timeout: float) -> socket.socket:
        """A connected, non-blocking socket to an address that a pod could have. Raises OSError (TimeoutError among
        them)."""
        return await self._connect(ip, port, timeout, only_pods=True)

    async def connect(self, host: str, port: int, timeout: float) -> socket.socket:
        """The same to whatever an administrator may name: ``name.namespace.svc``, which is one of that Service's
        endpoints, a DNS name, or an address."""
        if (service := services.parse_host(host)) is not None:
            try:
                host, port = self._resolve(*service, port)
            except ApiError as error:
                raise OSError(error.message) from error
        if _is_address(host):
            return await self._connect(host, port, timeout)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return await self._connect(str(found[0][4][0]), port, timeout)

    def _resolve(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        spec = services.find(self._reader, namespace, name).get("spec") or {}
        if spec.get("type") == "ExternalName":
            return str(spec.get("externalName", "")), port
        return services.resolve(self._reader, namespace, name, str(port))

    async def _connect(self, host: str, port: int, timeout: float, *, only_pods: bool = False) -> socket.socket:
        pod = self._pod_at(host)
        try:
            if only_pods and not is_proxyable(host):
                raise OSError("address not allowed")
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


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _direct(host: str, port: int, timeout: float) -> socket.socket:
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
