"""Takes connections to one-time URLs and carries out what they stand for. Listens on loopback only: there is no TLS."""

import asyncio
import ipaddress
from contextlib import suppress

from apimachinery import spdy
from apimachinery.logging import get_logger
from apimachinery.spdy import upgrade
from apimachinery.spdy.upgrade import Head
from node.cri_docker.refusal import CriError, Refused
from node.cri_docker.runtime import Runtime
from node.cri_docker.streaming import channels as ch
from node.cri_docker.streaming import port_forward, remote_command, websocket
from node.cri_docker.streaming.channels import Channels
from node.cri_docker.streaming.urls import StreamingUrls, StreamRequest
from protos.cri.runtime.v1 import api_pb2 as cri

_HEAD_SECONDS = 10.0
log = get_logger(__name__)


class StreamingServer:
    def __init__(self, runtime: Runtime, urls: StreamingUrls) -> None:
        self._runtime, self._urls = runtime, urls
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self, address: str) -> None:
        """Listen on ``host:port`` (port 0: any). Raises Refused for what is not loopback, OSError."""
        host, _, port = address.rpartition(":")
        if not _is_loopback(host.strip("[]")):
            raise Refused(f"--streaming-address {address}: streams are clear text, only loopback is allowed")
        self._server = await asyncio.start_server(self._take, host.strip("[]"), int(port))
        bound = self._server.sockets[0].getsockname()
        self._urls.base_url = f"http://{host}:{bound[1]}"

    async def close(self) -> None:
        if self._server:
            self._server.close()
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - start_server makes one for each connection
        self._sessions.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, spdy.SpdyError, TimeoutError, CriError) as error:
            log.debug("Stream ended early", error=error)
        except Exception:
            log.exception("Stream broke")
        finally:
            self._sessions.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_SECONDS):
            head = await upgrade.read_head(reader)
        token = head.first[1].partition("?")[0].rsplit("/", 1)[-1]
        if not (upgrade.is_upgrade(head) or websocket.is_websocket(head)):
            await _refuse(writer, "400 Bad Request", "this address wants an upgrade to SPDY/3.1 or WebSocket")
            return
        request = self._urls.take(token)
        if request is None:
            await _refuse(writer, "404 Not Found", "unknown, used or expired stream")
        elif isinstance(request, cri.PortForwardRequest):
            await self._port_forward(head, reader, writer, request)
        elif websocket.is_websocket(head):
            await self._command_over_websocket(head, reader, writer, request)
        else:
            await self._command_over_spdy(head, reader, writer, request)

    async def _command_over_spdy(
        self,
        head: Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        request: cri.ExecRequest | cri.AttachRequest,
    ) -> None:
        protocol = upgrade.choose(head.values(upgrade.PROTOCOL_HEADER), ch.SPDY_PROTOCOLS)
        if protocol is None:
            await _refuse(writer, "403 Forbidden", f"none of the protocols offered is one of {ch.SPDY_PROTOCOLS}")
            return
        async with upgrade.accept(reader, writer, protocol) as connection:
            client = ch.SpdyChannels(connection, protocol)
            resizes = request.tty and protocol in ch.SPDY_PROTOCOLS[:2]
            await client.gather(_wanted(request) | ({ch.RESIZE} if resizes else set()))
            await self._run(request, client)

    async def _command_over_websocket(
        self,
        head: Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        request: cri.ExecRequest | cri.AttachRequest,
    ) -> None:
        socket = await websocket.accept(head, reader, writer, ch.WEBSOCKET_PROTOCOLS)
        client = ch.WebSocketChannels(socket, _wanted(request) | {ch.RESIZE})
        await client.greet()
        receiving = asyncio.create_task(client.receive(), name="stream messages")
        try:
            await self._run(request, client)
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)

    async def _run(self, request: cri.ExecRequest | cri.AttachRequest, client: Channels) -> None:
        if isinstance(request, cri.ExecRequest):
            await remote_command.run_exec(self._runtime.execs, request, client)
        else:
            record = self._runtime.cache.container(request.container_id)
            await remote_command.run_attach(self._runtime.engine, record.id, record.config.tty, request, client)

    async def _port_forward(
        self,
        head: Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        request: cri.PortForwardRequest,
    ) -> None:
        netns = self._runtime.cache.sandbox(request.pod_sandbox_id).netns
        if websocket.is_websocket(head):
            socket = await websocket.accept(head, reader, writer, port_forward.WEBSOCKET_PROTOCOLS)
            await port_forward.serve_websocket(socket, netns, request.port)
            return
        protocol = upgrade.choose(head.values(upgrade.PROTOCOL_HEADER), port_forward.SPDY_PROTOCOLS)
        if protocol is None:
            await _refuse(writer, "403 Forbidden", f"only {port_forward.SPDY_PROTOCOLS} is spoken here")
            return
        async with upgrade.accept(reader, writer, protocol) as connection:
            await port_forward.serve_spdy(connection, netns)


def _wanted(request: StreamRequest) -> set[int]:
    asked = {ch.STDIN: "stdin", ch.STDOUT: "stdout", ch.STDERR: "stderr"}
    return {ch.ERROR} | {channel for channel, name in asked.items() if getattr(request, name)}


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _refuse(writer: asyncio.StreamWriter, status: str, message: str) -> None:
    body = message.encode() + b"\n"
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    with suppress(ConnectionError):
        await writer.drain()
