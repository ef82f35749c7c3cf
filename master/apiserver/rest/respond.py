"""Writing responses: as few steps as ASGI allows, for these are on every request's path."""

import asyncio
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import orjson
import yaml

from apimachinery.errors import ApiError, Unauthorized

from .negotiation import JSON, YAML
from .request import Request

_CACHE = (b"cache-control", b"no-cache, private")
_JSON_TYPE = (b"content-type", b"application/json")
_WARNINGS_RUNES, _WARNING_RUNES = 4096, 256
"""Where all warnings together are longer than the first, each is cut to the second, and the last ones go."""
_MOST_WARNINGS = 64
"""Clients in Python take an answer of more than a hundred headers for a broken one."""
GZIP_FROM = 128 * 1024
"""Bytes from which a body is zipped, as upstream."""
_GZIP_HEADERS = ((b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding"))
_CONTROL = re.compile("[\x00-\x1f\x7f]+")


class Gzip:
    """A body zipped in a thread: zlib lets the event loop run meanwhile. At level 1, as upstream: twice as fast as the
    usual level, and JSON still shrinks to a tenth."""

    def __init__(self) -> None:
        self._zipping = zlib.compressobj(1, zlib.DEFLATED, wbits=31)

    async def add(self, data: bytes) -> bytes:
        return await asyncio.to_thread(self._zipping.compress, data)

    async def end(self) -> bytes:
        return await asyncio.to_thread(self._zipping.flush)


def _reads_gzip(request: Request) -> bool:
    return b"gzip" in request.headers.get(b"accept-encoding", b"")


async def send_bytes(
    request: Request,
    status: int,
    data: bytes,
    content_type: bytes = b"application/json",
    extra: Sequence[tuple[bytes, bytes]] = (_CACHE,),
) -> None:
    """Answer with a complete body."""
    if len(data) > GZIP_FROM and _reads_gzip(request):
        zipping = Gzip()
        data = await zipping.add(data) + await zipping.end()
        extra = (*extra, *_GZIP_HEADERS)
    headers = [
        (b"audit-id", request.audit_id.encode()),
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(data)),
        *extra,
        *request.told,
    ]
    if request.warnings:
        headers.extend(_warnings(request.warnings))
    request.started, request.status = True, status
    await request.send({"type": "http.response.start", "status": status, "headers": headers})
    await request.send({"type": "http.response.body", "body": data})


async def send_object(request: Request, status: int, obj: Any, media_type: str = JSON) -> None:
    data = orjson.dumps(obj) if media_type == JSON else yaml_of(obj)
    await send_bytes(request, status, data, media_type.encode())


async def send_data(request: Request, status: int, data: bytes, media_type: str = JSON) -> None:
    """An object that is JSON already, in the wanted media type."""
    if media_type == YAML:
        await send_bytes(request, status, yaml_of(orjson.loads(data)), YAML.encode())
    else:
        await send_bytes(request, status, data)


async def send_pieces(request: Request, pieces: Iterator[bytes], length: int, media_type: str = JSON) -> None:
    """A long JSON body that is made while it is sent; what fits in one piece is answered as any other. ``length`` is 0
    where it is not known."""
    first, second = next(pieces), next(pieces, b"")
    if not second or media_type == YAML:
        await send_data(request, 200, b"".join((first, second, *pieces)), media_type)
        return
    zipping = Gzip() if _reads_gzip(request) else None
    told = ((b"content-length", b"%d" % length),) if length else ()
    await start_stream(request, media_type.encode(), _GZIP_HEADERS if zipping else told)
    for piece in chain((first, second), pieces):
        body = await zipping.add(piece) if zipping else piece
        await request.send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(0)
    last = await zipping.end() if zipping else b""
    await request.send({"type": "http.response.body", "body": last, "more_body": False})


def yaml_of(obj: Any) -> bytes:
    return yaml.safe_dump(obj, sort_keys=True, allow_unicode=True).encode()


async def start_stream(
    request: Request, content_type: bytes = b"application/json", extra: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Begin a response whose length is not known."""
    headers = [(b"audit-id", request.audit_id.encode()), _CACHE, (b"content-type", content_type), *request.told, *extra]
    if request.warnings:
        headers.extend(_warnings(request.warnings))
    request.started, request.status = True, 200
    await request.send({"type": "http.response.start", "status": 200, "headers": headers})


async def send_refusal(request: Request, error: ApiError) -> None:
    """Answer a WebSocket's handshake with a Status instead of accepting it."""
    data = orjson.dumps(error.to_status())
    headers = [_JSON_TYPE, (b"content-length", b"%d" % len(data))]
    request.started, request.status = True, error.status_code
    status = {"type": "websocket.http.response.start", "status": error.status_code, "headers": headers}
    await request.send(status)
    await request.send({"type": "websocket.http.response.body", "body": data})


async def send_error(request: Request, error: ApiError) -> None:
    """Answer with a Status."""
    data = orjson.dumps(error.to_status())
    headers = [
        (b"audit-id", request.audit_id.encode()),
        _CACHE,
        _JSON_TYPE,
        (b"content-length", b"%d" % len(data)),
        *request.told,
    ]
    if error.retry_after_seconds:
        headers.append((b"retry-after", b"%d" % error.retry_after_seconds))
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b'Bearer realm="kubernetes"'))
    if request.warnings:
        headers.extend(_warnings(request.warnings))
    request.started, request.status = True, error.status_code
    await request.send({"type": "http.response.start", "status": error.status_code, "headers": headers})
    await request.send({"type": "http.response.body", "body": data})


def _warnings(texts: list[str]) -> list[tuple[bytes, bytes]]:
    """RFC 7234 Warning headers, code 299, each text once.

    Source: ``k8s.io/apiserver/pkg/endpoints/filters/warning.go``.
    """
    kept = [_CONTROL.sub(" ", text) for text in list(dict.fromkeys(texts))[:_MOST_WARNINGS]]
    room = _WARNINGS_RUNES
    if sum(map(len, kept)) > room:
        kept = [text[:_WARNING_RUNES] for text in kept]
    headers = []
    for text in kept:
        room -= len(text)
        if room < 0:
            break
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        headers.append((b"warning", f'299 - "{quoted}"'.encode()))
    return headers
