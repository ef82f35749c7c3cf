"""The HTTP/1.1 upgrade that begins every SPDY connection of Kubernetes, for both sides.

The client offers sub-protocols in ``X-Stream-Protocol-Version`` (one header each), the server answers 101 with the
one it takes. Source: ``k8s.io/apimachinery/pkg/util/httpstream/spdy``.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from .connection import ByteWriter, Connection, Role
from .errors import ProtocolError, UpgradeRefused

UPGRADE = "SPDY/3.1"
PROTOCOL_HEADER = "X-Stream-Protocol-Version"
_MAX_HEAD_BYTES = 64 * 1024
_MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """The first line's three parts and the headers (lower-case names, repeats kept) of a request or response."""

    first: tuple[str, str, str]
    headers: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        """All values of a header, comma-separated lists taken apart."""
        found = [v for n, v in self.headers if n == name.lower()]
        return [part.strip() for value in found for part in value.split(",") if part.strip()]


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Read up to the empty line. Raises ProtocolError for what is not HTTP/1, too long, or cut short."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ProtocolError(f"no HTTP head: {error}") from error
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or len(raw) > _MAX_HEAD_BYTES:
        raise ProtocolError(f"not an HTTP/1 head: {first[:80]!r}")
    pairs = (line.partition(":") for line in lines)
    headers = tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)
    return Head((parts[0], parts[1], parts[2] if len(parts) > 2 else ""), headers)


async def connect(
    url: str, protocols: Sequence[str] = (), *, method: str = "POST", tls: ssl.SSLContext | None = None
) -> tuple[Connection, str]:
    """Open a connection to an ``http(s)://`` URL, offering ``protocols``; gives it and the protocol taken.

    The connection is not started: use it as a context manager, which also closes the socket.
    Raises OSError if nobody listens, UpgradeRefused with the server's answer, ProtocolError.
    """
    parts = urlsplit(url)
    context = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
    port = parts.port or (443 if context else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        offers = "".join(f"{PROTOCOL_HEADER}: {p}\r\n" for p in protocols)
        head = f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\nUpgrade: {UPGRADE}\r\n"
        writer.write(f"{head}Content-Length: 0\r\n{offers}\r\n".encode("latin-1"))
        await writer.drain()
        answer = await read_head(reader)
        if answer.first[1] != "101":
            raise UpgradeRefused(int(answer.first[1]), await _body(reader, answer))
    except BaseException:
        writer.close()
        raise
    taken = answer.values(PROTOCOL_HEADER)
    return Connection(reader, writer, Role.CLIENT), taken[0] if taken else ""


async def _body(reader: asyncio.StreamReader, head: Head) -> bytes:
    lengths = head.values("content-length")
    size = min(int(lengths[0]), _MAX_BODY_BYTES) if lengths and lengths[0].isdigit() else _MAX_BODY_BYTES
    body = bytearray()
    while len(body) < size and (data := await reader.read(size - len(body))):
        body += data
    return bytes(body)


def choose(offered: Sequence[str], supported: Sequence[str]) -> str | None:
    """The first supported protocol that is offered; "" if nothing is offered; None if nothing fits."""
    if not offered:
        return ""
    return next((p for p in supported if p in offered), None)


def is_upgrade(head: Head) -> bool:
    """Whether a request asks for SPDY/3.1."""
    connection = [v.lower() for v in head.values("connection")]
    return "upgrade" in connection and UPGRADE.lower() in [v.lower() for v in head.values("upgrade")]


def accept(reader: asyncio.StreamReader, writer: ByteWriter, protocol: str) -> Connection:
    """Answer 101 to an upgrade request that was read, taking ``protocol``; gives the connection, not yet started."""
    taken = f"{PROTOCOL_HEADER}: {protocol}\r\n" if protocol else ""
    writer.write(
        f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {UPGRADE}\r\n{taken}\r\n".encode()
    )
    return Connection(reader, writer, Role.SERVER)
