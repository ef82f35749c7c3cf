"""A load generator for one HTTPS server: many keep-alive connections, one request after the other on each.

It parses just enough HTTP to know where an answer ends, so that the client costs little beside the server
that shares the machine with it.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A server on loopback and the credentials for it."""

    port: int
    token: str

    def tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def request(self, method: str, path: str, body: bytes = b"", media: str = "application/json") -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.token}\r\n"
        if body:
            head += f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    """Send one request and read its answer: status code and body."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    code, lowered = int(head[9:12]), head.lower()
    if b"transfer-encoding: chunked" in lowered:
        return code, await _chunks(reader)
    start = lowered.index(b"content-length:") + 15
    return code, await reader.readexactly(int(lowered[start : lowered.index(b"\r\n", start)]))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)


async def rate(target: Target, make: Callable[[int], bytes], *, connections: int, seconds: float) -> float:
    """Requests a second over ``connections`` keep-alive connections. Raises RuntimeError on an answer ≥ 400."""
    numbers = iter(range(1 << 40))
    deadline = time.monotonic() + seconds
    done = 0

    async def work() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port, ssl=target.tls(), limit=1 << 26)
        try:
            while time.monotonic() < deadline:
                code, body = await exchange(reader, writer, make(next(numbers)))
                if code >= 400:
                    raise RuntimeError(f"{code}: {body[:300]!r}")
                done += 1
        finally:
            writer.close()

    started = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(work())
    return done / (time.monotonic() - started)
