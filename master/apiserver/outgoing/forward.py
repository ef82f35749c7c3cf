"""A reverse proxy: requests, WebSockets and other upgraded connections passed on, streamed both ways in bounded memory.

What is sent and what is made of the answer is the caller's business: of pods and services ``rest.proxy``'s, of
aggregated API servers ``aggregation``'s.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpcore
import websockets
from starlette.types import Receive, Scope, Send

from ..rest import websocket
from ..rest.byte_streams import take_over
from ..rest.disconnect import while_connected
from .http import BROKEN, CONNECT_SECONDS, CUT_OFF, Pools
from .trust import Connect, Trust

Headers = list[tuple[bytes, bytes]]
_HOP_BY_HOP = frozenset(
    b"connection host keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade".split()
)
_CREDENTIALS = frozenset((b"authorization",))
_REPEATABLE = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
_CHUNK_BYTES = 64 * 1024
_MESSAGE_BYTES = 64 * 1024 * 1024
_FAREWELL_SECONDS = 5.0


class Unreachable(Exception):
    """The destination did not answer."""


class Edit(Protocol):
    """What is made of an answer on its way to the client."""

    limit: int
    """Bytes. A body that turns out to be larger is passed on as it is."""

    def headers(self, headers: Headers) -> Headers: ...

    def wants(self, headers: Headers) -> bool:
        """Whether ``body`` is to see the whole of it, which is then held in memory."""
        ...

    def body(self, data: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Destination:
    """``headers`` without those that are only between two neighbours; ``url`` with path and query."""

    url: str
    headers: Headers
    trust: Trust


class Forwarder:
    """``connect`` opens connections, which are kept. ``forward`` raises Unreachable before anything was answered."""

    def __init__(self, connect: Connect) -> None:
        self._connect, self._pools = connect, Pools(connect)

    async def close(self) -> None:
        await self._pools.close()

    async def forward(
        self, to: Destination, scope: Scope, receive: Receive, send: Send, edit: Edit | None = None
    ) -> None:
        if scope["type"] == "websocket":
            await self._websocket(to, scope, receive, send)
        elif upgrade := _upgrade(scope):
            await self._upgraded(to, upgrade, scope, receive, send)
        else:
            await self._request(to, scope, receive, send, edit)

    async def fetch(self, to: Destination) -> tuple[int, Headers, bytes]:
        """Status, headers and body of a GET. Raises Unreachable."""
        try:
            response = await self._pools.get(to.trust).request("GET", to.url, headers=to.headers)
        except (*BROKEN, OSError) as error:
            raise Unreachable(str(error) or type(error).__name__) from error
        return response.status, list(response.headers), response.content

    async def _send(self, to: Destination, method: str, headers: Headers, content: Any = None) -> httpcore.Response:
        host = (b"host", urlsplit(to.url).netloc.encode())
        request = httpcore.Request(method, to.url, headers=[host, *headers], content=content)
        try:
            pool = self._pools.get(to.trust)
            try:
                return await pool.handle_async_request(request)
            except CUT_OFF:
                if content is not None or method not in _REPEATABLE:
                    raise
                # Most likely a kept connection that the other end was just closing: a new one will tell.
                return await pool.handle_async_request(request)
        except (*BROKEN, OSError) as error:
            raise Unreachable(str(error) or type(error).__name__) from error

    async def _request(self, to: Destination, scope: Scope, receive: Receive, send: Send, edit: Edit | None) -> None:
        headers = list(to.headers)
        body_ended = asyncio.Event()
        framing = {name for name, _ in scope["headers"]} & {b"content-length", b"transfer-encoding"}
        body = _body(receive, body_ended) if framing else None
        if framing == {b"transfer-encoding"}:
            headers.append((b"transfer-encoding", b"chunked"))
        response = await self._send(to, scope["method"], headers, body)
        try:
            # The client is listened to only once its own request has been read.
            answering = _answer(response, scope["method"], send, edit)
            await (while_connected(receive, answering) if body is None or body_ended.is_set() else answering)
        except BROKEN:
            # The backend broke off in the middle: end the response, so that the client sees it is cut short.
            return
        finally:
            await response.aclose()

    async def _upgraded(self, to: Destination, upgrade: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Another protocol than HTTP over the same connection, such as SPDY, if the destination agrees."""
        headers = [*to.headers, (b"connection", b"Upgrade"), (b"upgrade", upgrade)]
        response = await self._send(to, scope["method"], headers)
        try:
            if response.status != 101:
                await _answer(response, scope["method"], send, None)
                return
            reader, writer = take_over(scope)
            lines = [b"HTTP/1.1 101 Switching Protocols", *(n + b": " + v for n, v in response.headers), b"", b""]
            writer.write(b"\r\n".join(lines))
            stream: httpcore.AsyncNetworkStream = response.extensions["network_stream"]
            await _first_of(_to_backend(reader, stream), _to_client(stream, writer))
            writer.close()
        finally:
            await response.aclose()

    async def _websocket(self, to: Destination, scope: Scope, receive: Receive, send: Send) -> None:
        target = urlsplit(to.url)
        secure = target.scheme == "https"
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in to.headers]
        try:
            sock = await self._connect(target.hostname or "", target.port or (443 if secure else 80), CONNECT_SECONDS)
            backend = await websockets.connect(
                "ws" + to.url.removeprefix("http"),
                sock=sock,
                ssl=to.trust.context() if secure else None,
                subprotocols=list(scope.get("subprotocols") or ()) or None,
                additional_headers=[(n, v) for n, v in headers if not n.startswith("sec-websocket-")],
                open_timeout=CONNECT_SECONDS,
                close_timeout=_FAREWELL_SECONDS,
                max_size=_MESSAGE_BYTES,
                compression=None,
                user_agent_header=None,
                proxy=None,
            )
        except websockets.InvalidStatus as refused:
            await _refuse_websocket(refused, send)
            return
        except (OSError, TimeoutError, websockets.WebSocketException) as error:
            raise Unreachable(str(error) or type(error).__name__) from error
        async with backend:
            await websocket.accept(receive, send, backend.subprotocol or "")
            await _first_of(_messages_up(backend, receive), _messages_down(backend, send))


def forwarded_headers(scope: Scope, dropped: Iterable[bytes] = ()) -> Headers:
    """The caller's headers without his credentials and what is only between him and us."""
    headers: Headers = list(scope["headers"])
    tokens = {token.strip().lower() for n, v in headers if n == b"connection" for token in v.split(b",")}
    out = _HOP_BY_HOP | _CREDENTIALS | tokens | frozenset(dropped)
    kept = [(n, v) for n, v in headers if n not in out and not n.startswith(b"impersonate-")]
    host = next((v for n, v in headers if n == b"host"), b"")
    kept += [(b"x-forwarded-host", host), (b"x-forwarded-proto", b"https")]
    client = scope.get("client")
    return [*kept, (b"x-forwarded-for", client[0].encode())] if client else kept


async def respond(send: Send, status: int, headers: Headers, data: bytes) -> None:
    """Answer with a complete body."""
    headers = [*headers, (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def _upgrade(scope: Scope) -> bytes:
    headers = dict(scope["headers"])
    return headers.get(b"upgrade", b"") if b"upgrade" in headers.get(b"connection", b"").lower() else b""


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


async def _answer(response: httpcore.Response, method: str, send: Send, edit: Edit | None) -> None:
    headers = [(n.lower(), v) for n, v in response.headers if n.lower() not in _HOP_BY_HOP]
    if edit:
        headers = edit.headers(headers)
    chunks = response.aiter_stream()
    held, ended = b"", False
    if edit and method != "HEAD" and edit.wants(headers):
        held, ended = await _hold(chunks, edit.limit)
        if ended:
            headers = [(n, v) for n, v in headers if n != b"content-length"]
            await respond(send, response.status, headers, edit.body(held))
            return
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": held, "more_body": True})
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _hold(chunks: AsyncIterator[bytes], limit: int) -> tuple[bytes, bool]:
    """What there is up to a limit or a chunk more, and whether that was all."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) > limit:
            return bytes(held), False
    return bytes(held), True


async def _refuse_websocket(refused: websockets.InvalidStatus, send: Send) -> None:
    """The destination's own answer to a handshake that it does not want."""
    response = refused.response
    headers = [(b"content-type", response.headers.get("Content-Type", "text/plain").encode("latin-1"))]
    start = {"type": "websocket.http.response.start", "status": response.status_code, "headers": headers}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": bytes(response.body or b"")})


async def _messages_up(backend: websockets.ClientConnection, receive: Receive) -> None:
    async for message in websocket.messages(receive):
        await backend.send(message)


async def _messages_down(backend: websockets.ClientConnection, send: Send) -> None:
    async for message in backend:
        await send({"type": "websocket.send", "bytes" if isinstance(message, bytes) else "text": message})
    await websocket.close(send, backend.close_code or 1000)


async def _to_backend(reader: asyncio.StreamReader, stream: httpcore.AsyncNetworkStream) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        await stream.write(data)


async def _to_client(stream: httpcore.AsyncNetworkStream, writer: asyncio.StreamWriter) -> None:
    while data := await stream.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()


async def _first_of(*ways: Coroutine[Any, Any, None]) -> None:
    """Carry both directions until one of them ends."""
    tasks = [asyncio.create_task(way, name="forward") for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        with contextlib.suppress(OSError, websockets.ConnectionClosed, *BROKEN):
            for task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
