"""The connection under a request: who is at its other end, and taking it over for another protocol.

uvicorn knows neither, so its HTTP protocol is extended here. ``peer_of(scope)`` is the request's ``Peer``.
"""

import asyncio

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

STATE_KEY = "kubeto.peer"


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

    def _unsupported_upgrade_warning(self) -> None:
        """Other upgrades than WebSocket (SPDY) are the business of who hijacks the connection."""

    def hand_over(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        transport = self.transport
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        self.cycle.disconnected = True
        self.cycle.response_complete = True
        self.cycle.message_event.set()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return transport


def peer_of(scope: Scope) -> Peer:
    peer: Peer = scope["state"][STATE_KEY]
    return peer
