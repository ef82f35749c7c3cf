"""The proxy subresources of pods, services and nodes: requests of any verb, and upgraded connections, passed on.

Pods are reached as ``outgoing.dial`` says. Credentials of the caller stop here. A backend's certificate is
not verified, as upstream. Of a node's HTTP API there is no more than ``NODE_PATHS``: agents speak gRPC.
"""

import re
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

import orjson
from starlette.types import Receive, Scope, Send

from apimachinery import pods, scheme
from apimachinery.errors import NotImplementedByServer, ServiceUnavailable
from protos.kubeto.v1 import node_pb2 as pb

from ..outgoing.dial import Dialer
from ..outgoing.forward import Destination, Forwarder, Headers, Unreachable, forwarded_headers, respond
from ..outgoing.trust import Trust
from ..registry.reader import Reader
from . import proxy_target
from .connect import Connectors, ConnectRequest
from .node_agents import NodeAgents, call
from .node_exposition import resource_metrics

NODE_PATHS = (
    "/stats/summary", "/metrics", "/metrics/resource", "/metrics/cadvisor", "/metrics/probes", "/healthz", "/pods"
)  # fmt: skip
_EXPOSITION = b"text/plain; version=0.0.4; charset=utf-8"
_LINK = re.compile(
    rb"""(\s(?:href|src|action|cite|data|formaction|poster)\s*=\s*["'])(/[^/"'][^"']*|/)""", re.IGNORECASE
)
_MAX_REWRITTEN_BYTES = 2 * 1024 * 1024
# A pod's certificate is made by whoever runs it; nobody here could verify it, and upstream does not either.
_UNVERIFIED = Trust(verify=False)
_IN_THE_CLEAR = (b"accept-encoding",)
"""Stopped here, so that HTML comes uncompressed and its links can be rewritten."""

Origin = Callable[[Reader, str, str], str]


class Proxy:
    """``connectors`` maps each proxy subresource to what serves it."""

    def __init__(self, reader: Reader, agents: NodeAgents, dialer: Dialer) -> None:
        self._reader, self._agents = reader, agents
        self._forwarder = Forwarder(dialer.connect_pod)

    def connectors(self) -> Connectors:
        return {
            ("", "pods", "proxy"): self._pod,
            ("", "services", "proxy"): self._service,
            ("", "nodes", "proxy"): self._node,
        }

    async def close(self) -> None:
        await self._forwarder.close()

    async def _pod(self, request: ConnectRequest, scope: Scope, receive: Receive, send: Send) -> None:
        await self._pass(proxy_target.pod_origin, request, scope, receive, send)

    async def _service(self, request: ConnectRequest, scope: Scope, receive: Receive, send: Send) -> None:
        await self._pass(proxy_target.service_origin, request, scope, receive, send)

    async def _pass(
        self, origin_of: Origin, request: ConnectRequest, scope: Scope, receive: Receive, send: Send
    ) -> None:
        prefix, path = split_path(scope, 7)
        if not path and request.method in ("GET", "HEAD") and scope["type"] == "http":
            await _redirect(prefix + "/", scope, send)
            return
        origin = origin_of(self._reader, request.namespace, request.name)
        query = scope["query_string"].decode("latin-1")
        url = f"{origin}{path or '/'}{'?' + query if query else ''}"
        to = Destination(url, forwarded_headers(scope, _IN_THE_CLEAR), _UNVERIFIED)
        try:
            await self._forwarder.forward(to, scope, receive, send, _Below(prefix, url))
        except Unreachable as error:
            raise ServiceUnavailable(f"error trying to reach service: {error}") from error

    async def _node(self, request: ConnectRequest, scope: Scope, receive: Receive, send: Send) -> None:
        name = proxy_target.ProxyName.parse(request.name).name
        match request.path.rstrip("/"):
            case "/stats/summary":
                reply = await call(self._agents.stub(name).Stats(pb.StatsRequest(node=name)), name)
                await _json(send, reply.json)
            case "/metrics" | "/metrics/probes" | "/metrics/cadvisor" as path:
                asked = pb.MetricsRequest(
                    node=name, probes=path == "/metrics/probes", cadvisor=path == "/metrics/cadvisor"
                )
                told = await call(self._agents.stub(name).Metrics(asked), name)
                await respond(send, 200, [(b"content-type", _EXPOSITION)], told.text)
            case "/metrics/resource":
                reply = await call(self._agents.stub(name).Stats(pb.StatsRequest(node=name)), name)
                await respond(send, 200, [(b"content-type", _EXPOSITION)], resource_metrics(orjson.loads(reply.json)))
            case "/healthz":
                await self._node_health(name, send)
            case "/pods":
                bound = [p for p in self._reader.list(scheme.PODS) if pods.node_name(p) == name]
                await _json(send, orjson.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": bound}))
            case path:
                known = ", ".join(NODE_PATHS)
                raise NotImplementedByServer(f"nodes/proxy: a Kubeto node serves {known}, not {path or '/'!r}")

    async def _node_health(self, node: str, send: Send) -> None:
        reply = await call(self._agents.stub(node).Health(pb.HealthRequest(nodes=[node])), node)
        found = next((n for n in reply.nodes if n.node == node), None)
        healthy = found is not None and found.healthy
        text = "ok" if healthy else (found.message if found else "unknown node")
        await respond(send, 200 if healthy else 500, [(b"content-type", b"text/plain")], text.encode())


def split_path(scope: Scope, parts: int) -> tuple[str, str]:
    """The raw path up to and with ``/proxy`` (its first ``parts`` segments), and what follows, still encoded."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    segments = raw.decode("latin-1").split("/")
    rest = segments[parts + 1 :]
    return "/".join(segments[: parts + 1]), ("/" + "/".join(rest)) if rest else ""


class _Below:
    """Answers of a backend whose root is seen below ``prefix``: its links and redirects are made to stay there."""

    limit = _MAX_REWRITTEN_BYTES

    def __init__(self, prefix: str, url: str) -> None:
        self._prefix, self._url = prefix, url

    def headers(self, headers: Headers) -> Headers:
        return [(n, self._location(v) if n == b"location" else v) for n, v in headers]

    def wants(self, headers: Headers) -> bool:
        """HTML in the clear, of a size that may be held in memory."""
        have = dict(headers)
        if not have.get(b"content-type", b"").startswith(b"text/html") or b"content-encoding" in have:
            return False
        return int(have.get(b"content-length") or 0) <= self.limit

    def body(self, data: bytes) -> bytes:
        return rewrite_links(data, self._prefix.encode("latin-1"))

    def _location(self, location: bytes) -> bytes:
        """A redirect to the backend itself stays behind the proxy; one to elsewhere is left alone."""
        target, here = urlsplit(urljoin(self._url, location.decode("latin-1"))), urlsplit(self._url)
        if target.netloc != here.netloc or not location:
            return location
        query = f"?{target.query}" if target.query else ""
        return f"{self._prefix}{target.path}{query}".encode("latin-1")


def rewrite_links(html: bytes, prefix: bytes) -> bytes:
    """Links to the root of the backend become links below ``prefix``."""
    return _LINK.sub(lambda m: m[1] + (m[2] if m[2].startswith(prefix) else prefix + m[2]), html)


async def _redirect(path: str, scope: Scope, send: Send) -> None:
    query: bytes = scope["query_string"]
    location = path.encode("latin-1") + (b"?" + query if query else b"")
    await respond(send, 301, [(b"location", location)], b"")


async def _json(send: Send, data: bytes) -> None:
    await respond(send, 200, [(b"content-type", b"application/json")], data)
