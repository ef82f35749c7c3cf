"""pods/exec, attach, portforward and log: a client's WebSocket, SPDY or plain HTTP on one side, an agent on the other.

Nothing is sent to the client before its request is known to be good and the agent has answered: until then an error
is an ordinary Status.
"""

import base64
from collections.abc import AsyncIterator
from typing import Any

from starlette.types import Receive, Scope, Send

from apimachinery.errors import BadRequest, Cause, Invalid
from apimachinery.spdy import Connection, Role, SpdyError, upgrade
from protos.kubeto.v1 import node_pb2 as pb

from ..registry.reader import Reader
from . import port_forward, spdy_terminal, terminal, websocket
from .byte_streams import WebSocketBytes, take_over
from .connect import Connectors, ConnectRequest
from .disconnect import while_connected
from .node_agents import NodeAgents, stream
from .pod_target import PodTarget, container_target, find_pod, running_target, target
from .query import Query
from .spdy_terminal import SpdyTerminal
from .terminal import TerminalOptions
from .websocket import Channels, WebSocketTerminal


class Streaming:
    """``connectors`` maps each pod subresource to what serves it."""

    def __init__(self, reader: Reader, agents: NodeAgents) -> None:
        self._reader, self._agents = reader, agents

    def connectors(self) -> Connectors:
        return {
            ("", "pods", "exec"): self._exec,
            ("", "pods", "attach"): self._attach,
            ("", "pods", "portforward"): self._port_forward,
            ("", "pods", "log"): self._log,
        }

    async def _exec(self, request: ConnectRequest, scope: Scope, receive: Receive, send: Send) -> None:
        await self._terminal(request, scope, receive, send, exec_=True)

    async def _attach(self, request: ConnectRequest, scope: Scope, receive: Receive, send: Send) -> None:
        await self._terminal(request, scope, receive, send, exec_=False)

    async def _terminal(
        self, request: ConnectRequest, scope: Scope, receive: Receive, send: Send, *, exec_: bool
    ) -> None:
        options = TerminalOptions.parse(Query(scope), exec_=exec_)
        pod = await find_pod(self._reader, request.namespace, request.name)
        where = running_target(pod, container_target(pod, options.container))
        is_websocket = scope["type"] == "websocket"
        if is_websocket:
            protocol = websocket.negotiate(scope, websocket.TERMINAL_PROTOCOLS)
        else:
            protocol = _spdy_protocol(scope, spdy_terminal.PROTOCOLS)
        agent = self._agents.stub(where.node)
        call = agent.Exec(None) if exec_ else agent.Attach(None)
        await terminal.start(call, options.open(where), where.node)
        try:
            if is_websocket:
                await _websocket_terminal(call, protocol, options, where, receive, send)
            else:
                await _spdy_terminal(call, protocol, options, where, scope)
        except (OSError, SpdyError):
            # The client has gone; there is nobody to tell.
            return
        finally:
            call.cancel()

    async def _port_forward(self, request: ConnectRequest, scope: Scope, receive: Receive, send: Send) -> None:
        pod = await find_pod(self._reader, request.namespace, request.name)
        where = running_target(pod, target(pod))
        agent = self._agents.stub(where.node)

        def dial() -> Any:
            return agent.PortForward(None)

        if scope["type"] != "websocket":
            protocol = _spdy_protocol(scope, (port_forward.PROTOCOL,))
            await port_forward.serve_spdy(upgrade.accept(*take_over(scope), protocol), dial, where)
            return
        supported = (port_forward.TUNNEL_PROTOCOL, *port_forward.CHANNEL_PROTOCOLS)
        protocol = websocket.negotiate(scope, supported)
        ports = [port_forward.parse_port(p) for text in Query(scope).texts("ports") for p in text.split(",")]
        if protocol != port_forward.TUNNEL_PROTOCOL and not ports:
            raise BadRequest('query parameter "ports" is required')
        await websocket.accept(receive, send, protocol)
        if protocol == port_forward.TUNNEL_PROTOCOL:
            tunnel = WebSocketBytes(receive, send)
            await port_forward.serve_spdy(Connection(tunnel, tunnel, Role.SERVER), dial, where)
        else:
            await port_forward.serve_channels(Channels(receive, send, protocol), ports, dial, where)

    async def _log(self, request: ConnectRequest, scope: Scope, receive: Receive, send: Send) -> None:
        query = Query(scope)
        pod = await find_pod(self._reader, request.namespace, request.name)
        where = container_target(pod, query.text("container"))
        wanted = log_request(query, where)
        # A pod that is nowhere yet has written nothing, as upstream.
        chunks = self._chunks(wanted, where.node) if where.node else _nothing()
        if scope["type"] == "websocket":
            await _websocket_log(chunks, scope, receive, send)
        else:
            await while_connected(receive, _http_log(chunks, send))

    async def _chunks(self, wanted: pb.LogsRequest, node: str) -> AsyncIterator[bytes]:
        call = self._agents.stub(node).Logs(wanted)
        try:
            async for reply in stream(call, node):
                yield reply.data
        finally:
            call.cancel()


async def _websocket_terminal(
    call: Any, protocol: str, options: TerminalOptions, where: PodTarget, receive: Receive, send: Send
) -> None:
    await websocket.accept(receive, send, protocol)
    side = WebSocketTerminal(Channels(receive, send, protocol), protocol, options)
    await side.greet()
    await terminal.bridge(call, side, where.node)


async def _spdy_terminal(call: Any, protocol: str, options: TerminalOptions, where: PodTarget, scope: Scope) -> None:
    async with upgrade.accept(*take_over(scope), protocol) as connection:
        side = await SpdyTerminal.collect(connection, protocol, options)
        await terminal.bridge(call, side, where.node)


def _spdy_protocol(scope: Scope, supported: tuple[str, ...]) -> str:
    """The sub-protocol of a SPDY upgrade request. Raises BadRequest for a request that is no such upgrade."""
    headers = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"])
    head = upgrade.Head(("", "", ""), headers)
    if not upgrade.is_upgrade(head):
        raise BadRequest("Upgrade request required")
    chosen = upgrade.choose(head.values(upgrade.PROTOCOL_HEADER), supported)
    if chosen is None:
        raise BadRequest(f"unable to upgrade: no sub-protocol of {list(supported)} was offered")
    return chosen


def log_request(query: Query, where: PodTarget) -> pb.LogsRequest:
    """What PodLogOptions ask of the agent. Raises Invalid or BadRequest."""
    numbers = {name: query.number(name) for name in ("tailLines", "limitBytes", "sinceSeconds")}
    for name, least in (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)):
        value = numbers[name]
        if value is not None and value < least:
            raise _invalid(name, str(value), f"must be greater than or equal to {least}")
    since, stream_ = query.text("sinceTime"), query.text("stream")
    if since and numbers["sinceSeconds"] is not None:
        raise _invalid("sinceSeconds", "", "at most one of `sinceTime` or `sinceSeconds` may be specified")
    if stream_ not in ("", "All", "Stdout", "Stderr"):
        raise _invalid("stream", stream_, 'supported values: "All", "Stdout", "Stderr"')
    return pb.LogsRequest(
        node=where.node,
        namespace=where.namespace,
        pod=where.pod,
        pod_uid=where.uid,
        container=where.container,
        follow=query.flag("follow"),
        previous=query.flag("previous"),
        timestamps=query.flag("timestamps"),
        tail_lines=numbers["tailLines"],
        limit_bytes=numbers["limitBytes"],
        since_seconds=numbers["sinceSeconds"],
        since_time=since,
        stream=stream_,
    )


async def _http_log(chunks: AsyncIterator[bytes], send: Send) -> None:
    # The first chunk decides between a log and a Status: the agent refuses before it sends anything.
    first = await anext(chunks, None)
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-cache, private")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if first is not None:
        await send({"type": "http.response.body", "body": first, "more_body": True})
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _websocket_log(chunks: AsyncIterator[bytes], scope: Scope, receive: Receive, send: Send) -> None:
    protocol = websocket.negotiate(scope, websocket.READER_PROTOCOLS)
    first = await anext(chunks, b"")
    await websocket.accept(receive, send, protocol)

    async def carry() -> None:
        if first:
            await _send_log(send, protocol, first)
        async for chunk in chunks:
            await _send_log(send, protocol, chunk)
        await websocket.close(send)

    await while_connected(receive, carry())


async def _send_log(send: Send, protocol: str, chunk: bytes) -> None:
    """No channel byte: a log has one stream only."""
    if protocol == websocket.BASE64_BINARY:
        await send({"type": "websocket.send", "text": base64.b64encode(chunk).decode("ascii")})
    else:
        await send({"type": "websocket.send", "bytes": chunk})


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _invalid(field: str, value: str, why: str) -> Invalid:
    text = f"Invalid value: {value!r}: {why}"
    return Invalid(
        f'PodLogOptions "" is invalid: {field}: {text}',
        kind="PodLogOptions",
        causes=[Cause("FieldValueInvalid", text, field)],
    )
