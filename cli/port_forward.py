"""``kubeto port-forward``: local ports that lead into a pod.

The connection is SPDY/3.1 tunnelled through one WebSocket, as kubectl does it (KEP-4006); each accepted TCP
connection is a pair of streams on it, one for data and one for an error.
"""

import asyncio
import sys
from typing import Annotated

import typer
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from apimachinery import spdy
from apimachinery.errors import BadRequest
from cli.api import ApiUnreachable
from cli.session import Namespace, Session
from cli.streams import pod_of

_PROTOCOL = "SPDY/3.1+portforward.k8s.io"


def port_forward(
    pod: Annotated[str, typer.Argument(metavar="POD | TYPE/NAME")],
    ports: Annotated[list[str], typer.Argument(metavar="[LOCAL:]REMOTE...")],
    namespace: Namespace = "",
    address: Annotated[str, typer.Option("--address", help="The local address to listen on.")] = "127.0.0.1",
) -> None:
    """Reach a pod's port on this machine: 'kubeto port-forward web-0 8080:80', 'kubeto port-forward deploy/web :80'."""
    session = Session(namespace)
    path = session.path(session.resources.one("pods"), pod_of(session, pod), "portforward")
    asyncio.run(_forward(session, path, [_pair(p) for p in ports], address))


def _pair(text: str) -> tuple[int, int]:
    """Local and remote port; local 0 = any free one."""
    local, _, remote = text.rpartition(":")
    try:
        return (int(local or 0) if ":" in text else int(remote)), int(remote)
    except ValueError as error:
        raise BadRequest(f"{text!r} is not a port: write 8080:80, 80 or :80") from error


class _Bytes:
    """A WebSocket's binary messages as the byte stream that SPDY is spoken over."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._read = self._pending = b""

    async def read(self, n: int = -1, /) -> bytes:
        if not self._read:
            try:
                message = await self._socket.recv()
            except ConnectionClosed:
                return b""
            self._read = message.encode() if isinstance(message, str) else message
        data, self._read = (self._read, b"") if n < 0 else (self._read[:n], self._read[n:])
        return data

    def write(self, data: bytes, /) -> None:
        self._pending += data

    async def drain(self) -> None:
        data, self._pending = self._pending, b""
        if data:
            await self._socket.send(data)

    def close(self) -> None:
        self._pending = b""


async def _forward(session: Session, path: str, ports: list[tuple[int, int]], address: str) -> None:
    socket = await _open(session, path)
    stream = _Bytes(socket)
    async with socket, spdy.Connection(stream, stream, spdy.Role.CLIENT) as connection:
        servers = [await _listen(connection, local, remote, address) for local, remote in ports]
        await connection.wait_closed()
        for server in servers:
            server.close()
    raise ApiUnreachable("the connection to the pod was lost")


async def _open(session: Session, path: str) -> ClientConnection:
    url, options = session.api.websocket_options(path)
    try:
        return await connect(url, subprotocols=[Subprotocol(_PROTOCOL)], **options)
    except InvalidStatus as error:
        session.api.refused(error)
        raise
    except OSError as error:
        raise ApiUnreachable(f"the server {session.api.server} does not answer: {error}") from error


async def _listen(connection: spdy.Connection, local: int, remote: int, address: str) -> asyncio.Server:
    identifiers = iter(range(1_000_000_000))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        print(f"Handling connection for {remote}", flush=True)
        try:
            await _serve(connection, remote, str(next(identifiers)), reader, writer)
        except (spdy.SpdyError, OSError) as error:
            print(f"error: port {remote}: {error}", file=sys.stderr)
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(serve, address, local)
    except OSError as error:
        raise BadRequest(f"cannot listen on {address}:{local}: {error.strerror}") from error
    print(f"Forwarding from {address}:{server.sockets[0].getsockname()[1]} -> {remote}", flush=True)
    return server


async def _serve(
    connection: spdy.Connection,
    remote: int,
    identifier: str,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    headers = {"port": str(remote), "requestid": identifier}
    errors = await connection.open_stream({**headers, "streamtype": "error"}, fin=True)
    data = await connection.open_stream({**headers, "streamtype": "data"})
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_upload(reader, data))
        tasks.create_task(_download(data, writer))
    if message := await errors.read_all():
        print(f"error: port {remote}: {message.decode(errors='replace')}", file=sys.stderr)


async def _upload(reader: asyncio.StreamReader, data: spdy.Stream) -> None:
    while chunk := await reader.read(64 * 1024):
        await data.write(chunk)
    await data.close_write()


async def _download(data: spdy.Stream, writer: asyncio.StreamWriter) -> None:
    while chunk := await data.read():
        writer.write(chunk)
        await writer.drain()
    writer.close()
