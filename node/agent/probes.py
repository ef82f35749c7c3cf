"""One try of a probe: http, tcp, grpc or exec. Source: kubelet ``prober/prober.go``, ``pkg/probe``."""

import asyncio
import errno
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

import grpc
from grpc import aio

from node.agent import http_get
from node.agent.expansion import expand
from node.agent.pod_state import Object
from node.cri.runtime import Runtime, RuntimeDeadline, RuntimeFault

_SERVING: Final = 1
_HEALTH: Final = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


@dataclass(frozen=True, slots=True)
class Outcome:
    """``ok`` is None when the probe could not be made at all: that is neither success nor failure."""

    ok: bool | None
    message: str = ""


class Prober(Protocol):
    async def probe(self, probe: Object, spec: Object, container_id: str, pod_ip: str) -> Outcome: ...


class AlwaysReady:
    """For nodes whose containers have no network behind them: what runs is well."""

    async def probe(self, probe: Object, spec: Object, container_id: str, pod_ip: str) -> Outcome:
        return Outcome(True)


class NetworkProber:
    """Probes containers for real, through the pod's address and the runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def probe(self, probe: Object, spec: Object, container_id: str, pod_ip: str) -> Outcome:
        seconds = int(probe.get("timeoutSeconds") or 1)
        if "exec" in probe:
            return await self._exec(container_id, _command(probe["exec"] or {}, spec), seconds)
        if "httpGet" in probe:
            return await _http(probe["httpGet"], spec, pod_ip, seconds)
        if "tcpSocket" in probe:
            return await _tcp(probe["tcpSocket"], spec, pod_ip, seconds)
        if "grpc" in probe:
            return await _grpc(probe["grpc"], pod_ip, seconds)
        return Outcome(None, "the probe has no action")

    async def _exec(self, container_id: str, command: Sequence[str], seconds: int) -> Outcome:
        try:
            result = await self._runtime.exec_sync(container_id, command, seconds)
        except RuntimeDeadline:
            return Outcome(False, f'command timed out: "{" ".join(command)}" timed out after {seconds}s')
        except RuntimeFault as fault:
            return Outcome(None, str(fault))
        output = (result.stdout + result.stderr).decode("utf-8", "replace")
        return Outcome(result.exit_code == 0, output[:1024])


def _command(action: Object, spec: Object) -> list[str]:
    """With the environment that the spec itself says: what comes from elsewhere is empty, as upstream."""
    known = {e["name"]: str(e.get("value") or "") for e in spec.get("env") or ()}
    return [expand(word, known) for word in action.get("command") or ()]


async def _http(action: Object, spec: Object, pod_ip: str, seconds: int) -> Outcome:
    headers = [(h["name"], h.get("value", "")) for h in action.get("httpHeaders") or ()]
    try:
        url = action_url(action, spec, pod_ip)
    except ValueError as error:
        return Outcome(False, str(error))
    try:
        async with asyncio.timeout(seconds):
            answer = await http_get.get(url, headers)
    except TimeoutError:
        problem = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Outcome(False, f'Get "{url}": {problem}')
    except (OSError, ValueError) as error:
        return Outcome(False, f'Get "{url}": {_dialled(error, urlsplit(url).netloc)}')
    if 200 <= answer.status < 400:
        return Outcome(True)
    return Outcome(False, f"HTTP probe failed with statuscode: {answer.status}")


async def _tcp(action: Object, spec: Object, pod_ip: str, seconds: int) -> Outcome:
    try:
        host, port = action.get("host") or pod_ip, port_of(action["port"], spec)
    except ValueError as error:
        return Outcome(False, str(error))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Outcome(False, f"dial tcp {address}: i/o timeout")
    except OSError as error:
        return Outcome(False, _dialled(error, address))
    writer.close()
    return Outcome(True)


_DIALLED: Final = {
    errno.ECONNREFUSED: "connect: connection refused",
    errno.EHOSTUNREACH: "connect: no route to host",
    errno.ENETUNREACH: "connect: network is unreachable",
}


def _dialled(error: Exception, address: str) -> str:
    """What became of a connection, as Go's net package says it."""
    known = _DIALLED.get(error.errno or 0) if isinstance(error, OSError) else None
    if known:
        return f"dial tcp {address}: {known}"
    return "read: connection reset by peer" if isinstance(error, ConnectionResetError) else str(error) or "EOF"


async def _grpc(action: Object, pod_ip: str, seconds: int) -> Outcome:
    """``grpc.health.v1.Health/Check``; its two messages are one field each, so they are written here by hand."""
    address = f"[{pod_ip}]:{action['port']}" if ":" in pod_ip else f"{pod_ip}:{action['port']}"
    name = (action.get("service") or "").encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    async with aio.insecure_channel(address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check", None, None)
        try:
            reply: bytes = await check(request, timeout=seconds)
        except aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                problem = f'timeout: failed to connect service "{address}" within {seconds}s: context deadline exceeded'
                return Outcome(False, problem)
            return Outcome(False, f"error: health rpc probe failed: {error.details()}"[:1024])
    status = reply[1] if len(reply) >= 2 and reply[0] == 0x08 else 0
    word = _HEALTH[status] if status < len(_HEALTH) else str(status)
    return Outcome(status == _SERVING, f'service unhealthy (responded with "{word}")')


def action_url(action: Object, spec: Object, pod_ip: str) -> str:
    """The URL of an ``httpGet``. Raises ValueError for a port that has no number."""
    host = action.get("host") or pod_ip
    host = f"[{host}]" if ":" in host else host
    scheme = (action.get("scheme") or "HTTP").lower()
    path = action.get("path") or "/"
    path = path if path.startswith("/") else f"/{path}"
    return f"{scheme}://{host}:{port_of(action['port'], spec)}{path}"


def port_of(port: int | str, spec: Object) -> int:
    """A port number, or that of the container's port of a name. Raises ValueError."""
    for named in spec.get("ports") or ():
        if named.get("name") == port:
            return int(named["containerPort"])
    try:
        return int(port)
    except ValueError:
        raise ValueError(f"couldn't find port: {port} in container {spec['name']}") from None


def first_delay(probe: Object, started_at: float, now: float) -> float:
    """Seconds until a probe's first try, counted from the start of its container."""
    return max(0.0, math.ceil((started_at + int(probe.get("initialDelaySeconds") or 0) - now) * 1000) / 1000)
