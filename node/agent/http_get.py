"""One HTTP GET as probes and hooks make it: no client library, no pool, no verification of certificates.

Redirects to the same host are followed; one to another host counts as success. Source: ``pkg/probe/http``.
"""

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

_MAX_HEAD: Final = 64 * 1024
_MAX_BODY: Final = 10 * 1024
_MAX_REDIRECTS: Final = 10


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]


def insecure_tls() -> ssl.SSLContext:
    """TLS to a container: nothing to verify, as it has a certificate that nobody vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def get(url: str, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    """Raises OSError or ValueError when there is no HTTP answer. Bound it with a timeout."""
    given = {name.lower(): value for name, value in headers}
    answer = await _once(url, given)
    for _ in range(_MAX_REDIRECTS):
        target = urljoin(url, answer.headers.get("location", ""))
        if answer.status not in (301, 302, 303, 307, 308) or "location" not in answer.headers:
            return answer
        if urlsplit(target).hostname != urlsplit(url).hostname:
            return Answer(200, b"redirected to another host, which is not probed", {})
        url, answer = target, await _once(target, given)
    return answer


async def _once(url: str, headers: Mapping[str, str]) -> Answer:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(
        parts.hostname, port, ssl=insecure_tls() if secure else None, limit=_MAX_HEAD
    )
    try:
        writer.write(_request(parts.netloc, parts.path or "/", parts.query, headers))
        await writer.drain()
        return await _read(reader)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ValueError(f"malformed HTTP response: {error}") from error
    finally:
        writer.close()


def _request(host: str, path: str, query: str, headers: Mapping[str, str]) -> bytes:
    target = f"{path}?{query}" if query else path
    fields = {"host": host, "user-agent": "kube-probe/1.36", "accept": "*/*", "connection": "close", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode()


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = head.split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise ValueError(f"malformed HTTP response {first!r}")
    pairs = (line.partition(":") for line in rest if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    length = headers.get("content-length", "")
    body = await reader.read(min(int(length), _MAX_BODY) if length.isdigit() else _MAX_BODY)
    return Answer(int(words[1]), body, headers)
