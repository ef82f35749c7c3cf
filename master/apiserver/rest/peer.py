"""The connection under a request: who is at its other end, taking it over for another protocol, and its patience.

uvicorn has none of these, so its HTTP protocol is extended here. ``peer_of(scope)`` is the request's ``Peer``. A client
may be slow, but not without end: each wait on it has a bound, and so has what is kept of what it sends.
"""

import asyncio
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

STATE_KEY = "kubeto.peer"

MAX_HEAD = 1 << 20
"""Bytes of a request's line and headers, as Go's server; and of what is neither body nor needed to frame it."""
_FRAMING = 16
HEAD_SECONDS = 32.0
"""From the first byte (of the connection, for its first request) to the end of the headers; upstream's figure."""
REST_SECONDS, REST_BYTES = 10.0, 256 << 10
"""How long and how much of a body is still taken in once the request has been answered without it."""
STALL_SECONDS, STREAM_STALL_SECONDS = 60.0, 600.0
"""How long a client may read nothing of a response that waits for it; the second is of those without an end."""


class Peer:
    """One connection. ``certificate`` is the client's, in DER, verified by TLS; None if it sent none."""

    __slots__ = ("_connection", "certificate")

    def __init__(self, connection: "PeerProtocol", certificate: bytes | None) -> None:
        self._connection = connection
        self.certificate = certificate

    @property
    def gone(self) -> bool:
        """Whether the client has closed the connection."""
        return self._connection.transport.is_closing()

    def hijack(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Give the connection to another protocol, after an Upgrade request, before any response. The protocol's
        ``connection_made`` is called; the server forgets the connection and answers nothing more on it."""
        return self._connection.hand_over(protocol)


class PeerProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with a ``Peer`` in every scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        peer = Peer(self, tls.getpeercert(binary_form=True) if tls else None)
        # uvicorn copies this into the state of every scope, those of WebSockets on this connection too.
        self.app_state = {**self.app_state, STATE_KEY: peer}

        self._excess = self._rest = 0
        self._in_head, self._message_complete = True, True
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._running: Any = None
        self._limit("head", HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        for name in list(self._timers):
            self._unlimit(name)
        self._unset_keepalive_if_required()  # uvicorn forgets it where the connection was reset
        if self._running is not None and not self._running.response_complete:  # with others waiting behind it
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)
        self._release()

    def _release(self) -> None:
        """What refers to itself in a circle stays until the collector comes, which is seldom: 50 KB a connection."""
        self.pipeline.clear()
        self.app_state, self.headers = {}, []
        self.cycle = self.scope = self.flow = self.parser = self._running = None  # type: ignore[assignment]
        self.transport = None  # type: ignore[assignment]

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        self._excess += len(data)
        super().data_received(data)
        if self.transport is None:
            return  # it is a WebSocket now
        if self._in_head and not self._timers and not self.transport.is_closing():
            self._limit("head", HEAD_SECONDS)
        if self._excess > MAX_HEAD and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        self._in_head, self._message_complete, self._rest = True, False, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._excess = False, 0
        self._unlimit("head")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._excess = max(0, self._excess - 3 * len(body) - _FRAMING)
        if self.cycle.response_complete:
            self._rest += len(body)
            if self._rest > REST_BYTES:
                self.transport.abort()  # a close would read on until the client has seen it
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._message_complete, self._excess = True, 0
        self._unlimit("rest")
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.transport is None:
            return
        if not self._message_complete and not self.transport.is_closing():
            self._limit("rest", REST_SECONDS)
        super().on_response_complete()

    def pause_writing(self) -> None:
        endless = self.cycle is not None and bool(self.cycle.chunked_encoding)
        self._limit("stall", STREAM_STALL_SECONDS if endless else STALL_SECONDS)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._unlimit("stall")
        super().resume_writing()

    def _limit(self, what: str, seconds: float) -> None:
        """End the connection unless ``what`` is over by then."""
        self._unlimit(what)
        self._timers[what] = self.loop.call_later(seconds, self.transport.abort)

    def _unlimit(self, what: str) -> None:
        timer = self._timers.pop(what, None)
        if timer:
            timer.cancel()

    def _refuse_head(self) -> None:
        text = b"Request Header Fields Too Large"
        head = b"HTTP/1.1 431 %b\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(head % (text, len(text)) + text)
        self.transport.close()
        self._limit("end", 1.0)

    def _unsupported_upgrade_warning(self) -> None:
        """Other upgrades than WebSocket (SPDY) are the business of who hijacks the connection."""

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self._release()

    def hand_over(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        transport = self.transport
        self._unset_keepalive_if_required()
        for name in list(self._timers):
            self._unlimit(name)
        self.connections.discard(self)
        self.cycle.disconnected = True
        self.cycle.response_complete = True
        self.cycle.message_event.set()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        self._release()
        return transport


class PeerWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, without the circles that keep it, its buffers and its compressors alive."""

    _done = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # The application chooses, also of names that are no tokens: kubectl's tunnel is "SPDY/3.1+portforward.k8s.io".
        self.conn.process_subprotocol = lambda headers: None  # type: ignore[method-assign]

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._done = True
        self._release()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # refused by a whole response, which uvicorn would miss

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._done = self._done or not self.handshake_initiated
        self._release()

    def _release(self) -> None:
        if self._done and self.disconnected:
            self.app_state = {}
            self.conn = self.transport = self.queue = self.scope = None  # type: ignore[assignment]


def peer_of(scope: Scope) -> Peer:
    peer: Peer = scope["state"][STATE_KEY]
    return peer
