"""HTTP requests in the audit log: what is recorded is taken from the request and from what is sent back."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Message

from ..audit.records import Auditor, Origin, Record
from ..auth.authorizer import RequestAttributes
from ..registry.pipeline import Target
from . import body
from .request import Request

MAX_RECORDED = 8 * 1024 * 1024
"""Bytes of a response that are kept for the log; of a longer one, only its status is told."""


async def audited(
    auditor: Auditor, request: Request, about: RequestAttributes, answer: Callable[[], Awaitable[None]]
) -> None:
    """Answer a request and record it, if the policy wants that."""
    record = auditor.begin(about, lambda: _origin(request))
    if record is None:
        await answer()
        return
    tap = _Tap(request, record)
    record.annotations = request.annotations
    try:
        await answer()
    finally:
        record.media, record.sent = body.media_type(request), request.received
        code = 101 if request.scope["type"] == "websocket" and not request.status else request.status or tap.code
        record.complete(code, request.error, tap.body)


class _Tap:
    """Sees what is sent to the client."""

    def __init__(self, request: Request, record: Record) -> None:
        self.code = 0
        self._request, self._record, self._send = request, record, request.send
        self._chunks: list[bytes] = []
        self._size = 0
        request.send = self

    @property
    def body(self) -> bytes:
        return b"".join(self._chunks) if self._size <= MAX_RECORDED else b""

    async def __call__(self, message: Message) -> None:
        lasts = self._request.watching or self._request.lasting
        if message["type"] == "http.response.start":
            self.code = message["status"]
            if lasts:
                self._record.started(self.code)
        elif self._record.wants_response and not lasts and self._size <= MAX_RECORDED:
            chunk: bytes = message.get("body", b"")
            self._size += len(chunk)
            self._chunks.append(chunk)
        await self._send(message)


def _origin(request: Request) -> Origin:
    scope: Any = request.scope
    query: bytes = scope["query_string"]
    uri = scope["path"] + (f"?{query.decode('latin-1')}" if query else "")
    forwarded = request.headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
    peer = [scope["client"][0]] if scope.get("client") else []
    addresses = dict.fromkeys(a for a in (*map(str.strip, forwarded), *peer) if a)
    agent = request.headers.get(b"user-agent", b"").decode("latin-1")
    return Origin(request.audit_id, uri, tuple(addresses), agent, request.impersonator)


def path_of(target: Target) -> str:
    """The REST path of what a request of the inside API is about."""
    kind = target.kind
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    where = f"/namespaces/{target.namespace}" if target.namespace else ""
    parts = (part for part in (kind.resource, target.name, target.subresource) if part)
    return f"{root}{where}/{'/'.join(parts)}"
