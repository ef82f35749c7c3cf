"""The proxy subresources of pods, services and nodes: requests of any verb, and WebSockets, passed on.

Pods are reached as ``outgoing.dial`` says. Credentials of the caller stop here. A backend's certificate is
not verified, as upstream. Of a node's HTTP API there is no more than ``NODE_PATHS``: agents speak gRPC.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from urllib.parse import urljoin, urlsplit

import httpcore
import orjson
import websockets
from starlette.types import Receive, Scope, Send

from apimachinery import pods, scheme
from apimachinery.errors import ApiError, NotImplementedByServer, ServiceUnavailable
from protos.kubeto.v1 import node_pb2 as pb

from ..outgoing.dial import Dialer
from ..outgoing.http import BROKEN, CONNECT_SECONDS, Pools, Trust
from ..registry.reader import Reader
from . import proxy_target, websocket
from .connect import Connectors, ConnectRequest
from .disconnect import while_connected
from .node_agents import NodeAgents, call

NODE_PATHS = ("/stats/summary", "/healthz", "/pods")
_HOP_BY_HOP = frozenset(
    b"connection host keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade".split()
)
# Credentials stop here; without accept-encoding HTML comes in the clear, so that its links can be rewritten.
_STOPPED = frozenset((b"authorization", b"accept-encoding"))
_LINK = re.compile(
    rb"""(\s(?:href|src|action|cite|data|formaction|poster)\s*=\s*["'])(/[^/"'][^"']*|/)""", re.IGNORECASE
)
_MAX_REWRITTEN_BYTES = 8 * 1024 * 1024
# A pod's certificate is made by whoever runs it; nobody here could verify it, and upstream does not either.
_UNVERIFIED = Trust(verify=False)

Headers = list[tuple[bytes, bytes]]
Origin = Callable[[Reader, str, str], str]


class Proxy:
    """``connectors`` maps each proxy subresource to what serves it."""

    def __init__(self, reader: Reader, agents: NodeAgents, dialer: Dialer) -> None:
        self._reader, self._agents, self._dialer = reader, agents, dialer
        self._pools = Pools(dialer.connect_pod)

    def connectors(self) -> Connectors:
        return {
            ("", "pods", "proxy"): self._pod,
            ("", "services", "proxy"): self._service,
            ("", "nodes", "proxy"): self._node,
        }

    async def close(self) -> None:
        await self._pools.close()

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
        if scope["type"] == "websocket":
            await self._pass_websocket(url, scope, receive, send)
        else:
            await self._pass_http(url, prefix, scope, receive, send)

    async def _pass_http(self, url: str, prefix: str, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"host", urlsplit(url).netloc.encode()), *forwarded_headers(scope)]
        body_ended = asyncio.Event()
        framing = {name for name, _ in scope["headers"]} & {b"content-length", b"transfer-encoding"}
        body = _body(receive, body_ended) if framing else None
        if framing == {b"transfer-encoding"}:
            headers.append((b"transfer-encoding", b"chunked"))
        request = httpcore.Request(scope["method"], url, headers=headers, content=body)
        try:
            response = await self._pools.get(_UNVERIFIED).handle_async_request(request)
        except BROKEN as error:
            raise ServiceUnavailable(f"error trying to reach service: {error or type(error).__name__}") from error
        try:
            # The client is listened to only once its own request has been read.
            answering = _answer(response, scope["method"], url, prefix, send)
            await (while_connected(receive, answering) if body is None or body_ended.is_set() else answering)
        except BROKEN:
            # The backend broke off in the middle: end the response, so that the client sees it is cut short.
            return
        finally:
            await response.aclose()

    async def _pass_websocket(self, url: str, scope: Scope, receive: Receive, send: Send) -> None:
        target = urlsplit(url)
        protocols = list(scope.get("subprotocols") or ())
        port = target.port or (443 if target.scheme == "https" else 80)
        try:
            sock = await self._dialer.connect_pod(target.hostname or "", port, CONNECT_SECONDS)
            backend = await websockets.connect(
                "ws" + url.removeprefix("http"),
                sock=sock,
                ssl=_UNVERIFIED.context() if target.scheme == "https" else None,
                subprotocols=protocols or None,
                open_timeout=CONNECT_SECONDS,
                proxy=None,
            )
        except (OSError, TimeoutError, websockets.WebSocketException) as error:
            raise ServiceUnavailable(f"error trying to reach service: {error}") from error
        async with backend:
            await websocket.accept(receive, send, backend.subprotocol or "")
            await _pump(backend, receive, send)

    async def _node(self, request: ConnectRequest, scope: Scope, receive: Receive, send: Send) -> None:
        match request.path.rstrip("/"):
            case "/stats/summary":
                reply = await call(
                    self._agents.stub(request.name).Stats(pb.StatsRequest(node=request.name)), request.name
                )
                await _json(send, reply.json)
            case "/healthz":
                await self._node_health(request.name, send)
            case "/pods":
                bound = [p for p in self._reader.list(scheme.PODS) if pods.node_name(p) == request.name]
                await _json(send, orjson.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": bound}))
            case path:
                known = ", ".join(NODE_PATHS)
                raise NotImplementedByServer(f"nodes/proxy: a Kubeto node serves {known}, not {path or '/'!r}")

    async def _node_health(self, node: str, send: Send) -> None:
        reply = await call(self._agents.stub(node).Health(pb.HealthRequest(nodes=[node])), node)
        found = next((n for n in reply.nodes if n.node == node), None)
        healthy = found is not None and found.healthy
        text = "ok" if healthy else (found.message if found else "unknown node")
        await _respond(send, 200 if healthy else 500, [(b"content-type", b"text/plain")], text.encode())


def split_path(scope: Scope, parts: int) -> tuple[str, str]:
    """The raw path up to and with ``/proxy`` (its first ``parts`` segments), and what follows, still encoded."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    segments = raw.decode("latin-1").split("/")
    rest = segments[parts + 1 :]
    return "/".join(segments[: parts + 1]), ("/" + "/".join(rest)) if rest else ""


def forwarded_headers(scope: Scope) -> Headers:
    """The caller's headers without his credentials and what is only between him and us."""
    headers: Headers = list(scope["headers"])
    dropped = _HOP_BY_HOP | _STOPPED | _connection_tokens(headers)
    kept = [(n, v) for n, v in headers if n not in dropped and not n.startswith(b"impersonate-")]
    host = next((v for n, v in headers if n == b"host"), b"")
    kept += [(b"x-forwarded-host", host), (b"x-forwarded-proto", b"https")]
    client = scope.get("client")
    return [*kept, (b"x-forwarded-for", client[0].encode())] if client else kept


def _connection_tokens(headers: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    return {token.strip().lower() for n, v in headers if n == b"connection" for token in v.split(b",")}


async def _body(receive: Receive, ended: asyncio.Event) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise httpcore.WriteError("the client went away")
        if chunk := message.get("body", b""):
            yield chunk
        more = message.get("more_body", False)
    ended.set()


async def _answer(response: httpcore.Response, method: str, url: str, prefix: str, send: Send) -> None:
    headers = [(n.lower(), v) for n, v in response.headers if n.lower() not in _HOP_BY_HOP]
    headers = [(n, _own_location(v, url, prefix) if n == b"location" else v) for n, v in headers]
    if method != "HEAD" and _is_rewritten(dict(headers)):
        data = rewrite_links(await response.aread(), prefix.encode("latin-1"))
        await _respond(send, response.status, [(n, v) for n, v in headers if n != b"content-length"], data)
        return
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    async for chunk in response.aiter_stream():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _is_rewritten(headers: Mapping[bytes, bytes]) -> bool:
    """HTML in the clear, of a size that may be held in memory."""
    if not headers.get(b"content-type", b"").startswith(b"text/html") or b"content-encoding" in headers:
        return False
    return int(headers.get(b"content-length") or 0) <= _MAX_REWRITTEN_BYTES


def rewrite_links(html: bytes, prefix: bytes) -> bytes:
    """Links to the root of the backend become links below ``prefix``."""
    return _LINK.sub(lambda m: m[1] + (m[2] if m[2].startswith(prefix) else prefix + m[2]), html)


def _own_location(location: bytes, url: str, prefix: str) -> bytes:
    """A redirect to the backend itself stays behind the proxy; one to elsewhere is left alone."""
    target, here = urlsplit(urljoin(url, location.decode("latin-1"))), urlsplit(url)
    if target.netloc != here.netloc or not location:
        return location
    query = f"?{target.query}" if target.query else ""
    return f"{prefix}{target.path}{query}".encode("latin-1")


async def _redirect(path: str, scope: Scope, send: Send) -> None:
    query: bytes = scope["query_string"]
    location = path.encode("latin-1") + (b"?" + query if query else b"")
    await _respond(send, 301, [(b"location", location)], b"")


async def _json(send: Send, data: bytes) -> None:
    await _respond(send, 200, [(b"content-type", b"application/json")], data)


async def _respond(send: Send, status: int, headers: Headers, data: bytes) -> None:
    headers = [*headers, (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


async def _pump(backend: websockets.ClientConnection, receive: Receive, send: Send) -> None:
    async def upwards() -> None:
        async for message in websocket.messages(receive):
            await backend.send(message)

    async def downwards() -> None:
        async for message in backend:
            key = "bytes" if isinstance(message, bytes) else "text"
            await send({"type": "websocket.send", key: message})
        await websocket.close(send, backend.close_code or 1000)

    tasks = [asyncio.create_task(upwards()), asyncio.create_task(downwards())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        with contextlib.suppress(OSError, ApiError, websockets.ConnectionClosed):
            for task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
