"""A request for a resource, taken apart: the path, the query, the body. No routing table: the path has one shape.

``/api/v1`` or ``/apis/GROUP/VERSION``, then ``[/namespaces/NS]/RESOURCE[/NAME[/SUBRESOURCE[/PATH]]]``.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope, Send

from apimachinery.errors import ApiError, BadRequest, RequestEntityTooLarge, Timeout

from ..auth.authorizer import RequestAttributes
from ..auth.user import User
from ..fairness.fairness import Ticket
from ..registry.pipeline import Target

MAX_BODY = 3 * 1024 * 1024
"""Bytes. Upstream's limit; etcd's own is half of it and answers as well."""

BODY_SECONDS = 60.0
"""In which a body has to be there: upstream's bound of requests that are not long-running."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}", re.ASCII)
_NAMESPACE_SUBRESOURCES = ("status", "finalize")


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names. ``rest`` is what follows a subresource (proxy paths), with its slash."""

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""


def parse_path(path: str) -> Place | None:
    """None for a path that names no resource, such as ``/apis/apps/v1``."""
    parts = path.split("/")
    if parts[1] == "api":
        group, at = "", 2
    else:
        group, at = (parts[2] if len(parts) > 2 else ""), 3
    if len(parts) < at + 2 or not parts[at + 1]:
        return None
    version, where = parts[at], parts[at + 1 :]
    namespace = ""
    if where[0] == "namespaces" and len(where) > 2 and where[2] and where[2] not in _NAMESPACE_SUBRESOURCES:
        namespace, where = where[1], where[2:]
    name = where[1] if len(where) > 1 else ""
    subresource = where[2] if len(where) > 2 else ""
    rest = "/" + "/".join(where[3:]) if len(where) > 3 else ""
    return Place(group, version, where[0], namespace, name, subresource, rest)


_OBJECT_VERBS = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create"}
_COLLECTION_VERBS = {"GET": "list", "HEAD": "list", "POST": "create", "DELETE": "deletecollection"}
_LASTING = frozenset(("attach", "exec", "log", "portforward", "proxy"))


class Request:
    """One HTTP request on its way through the REST front. ``warnings`` become Warning headers of the response, which
    also has the headers that are ``told``; ``annotations`` go to the audit log. ``place`` is None for a path that
    names no resource."""

    __slots__ = (
        "_body",
        "_body_until",
        "_query",
        "annotations",
        "audit_id",
        "error",
        "headers",
        "impersonator",
        "method",
        "place",
        "receive",
        "scope",
        "send",
        "started",
        "status",
        "target",
        "ticket",
        "told",
        "user",
        "warnings",
        "watching",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, user: User, audit_id: str) -> None:
        self.scope, self.receive, self.send, self.user, self.audit_id = scope, receive, send, user, audit_id
        self.method: str = scope.get("method", "GET")
        self.headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        self.warnings: list[str] = []
        self.annotations: dict[str, str] = {}
        self.started = self.watching = False
        self.status = 0
        self.target: Target | None = None
        self.place: Place | None = None
        self.error: ApiError | None = None
        self.impersonator: User | None = None
        self.ticket: Ticket | None = None
        self.told: list[tuple[bytes, bytes]] = []
        self._query: dict[str, str] | None = None
        self._body: bytes | None = None

    async def pass_on(self, message: Message) -> None:
        """Send what somebody else answers: from here on an error can no longer be answered by a Status."""
        self.started = True
        self.status = message.get("status", self.status)
        await self.send(message)

    def locate(self) -> RequestAttributes:
        """Find the ``place``; what the request is to authorization, fairness and audit."""
        path: str = self.scope["path"]
        if path.startswith(("/api/", "/apis/")):
            place = self.place = parse_path(path)
            if place is not None:
                return RequestAttributes(
                    self.user,
                    self._verb(place),
                    place.group,
                    place.version,
                    place.resource,
                    place.subresource,
                    place.namespace,
                    place.name,
                )
        return RequestAttributes(self.user, self.method.lower(), path=path)

    def _verb(self, place: Place) -> str:
        verb = (_OBJECT_VERBS if place.name else _COLLECTION_VERBS).get(self.method, self.method.lower())
        if verb == "list" and b"watch=" in self.scope["query_string"] and self.query.get("watch") in ("1", "true"):
            return "watch"
        return verb

    @property
    def lasting(self) -> bool:
        """Whether it is a connection rather than a question."""
        return self.place is not None and self.place.subresource in _LASTING

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of one that comes twice, the first, as for Go."""
        if self._query is None:
            raw: bytes = self.scope["query_string"]
            self._query = dict(reversed(parse_qsl(raw.decode("latin-1"), keep_blank_values=True))) if raw else {}
        return self._query

    def flag(self, name: str) -> bool | None:
        """A boolean parameter; None if it is absent. Raises BadRequest."""
        value = self.query.get(name)
        if value is None:
            return None
        if value.lower() in ("true", "1", "t", ""):
            return True
        if value.lower() in ("false", "0", "f"):
            return False
        raise BadRequest(f'strconv.ParseBool: parsing "{value}": invalid syntax')

    def number(self, name: str) -> int | None:
        """An integer parameter; None if it is absent or empty. Raises BadRequest."""
        value = self.query.get(name)
        if not value:
            return None
        if not _INTEGER.fullmatch(value):
            raise BadRequest(f'strconv.ParseInt: parsing "{value}": invalid syntax')
        number = int(value)
        if number.bit_length() > 63:
            raise BadRequest(f'strconv.ParseInt: parsing "{value}": value out of range')
        return number

    @property
    def received(self) -> bytes:
        """The body, if it has been read."""
        return self._body or b""

    async def body(self) -> bytes:
        """The whole body. Raises RequestEntityTooLarge, or Timeout for a client that takes its time."""
        if self._body is None:
            self._body = await self._read_body()
        return self._body

    def replay(self) -> Receive:
        """``receive``, for somebody who does not know that the body has been read already."""
        waiting = [] if self._body is None else [{"type": "http.request", "body": self._body, "more_body": False}]

        async def receive() -> Any:
            return waiting.pop() if waiting else await self.receive()

        return receive

    async def _read_body(self) -> bytes:
        self._body_until = asyncio.get_running_loop().time() + BODY_SECONDS
        announced = self.headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > MAX_BODY:
            raise _too_large()
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message: Any = await self._next_chunk()
            if message["type"] == "http.disconnect":
                raise BadRequest("the client went away before its request was complete")
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > MAX_BODY:
                raise _too_large()
            chunks.append(chunk)
            more = message.get("more_body", False)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _next_chunk(self) -> Any:
        try:
            async with asyncio.timeout_at(self._body_until):
                return await self.receive()
        except TimeoutError:
            raise Timeout("Timeout: request did not complete within the allotted timeout") from None


def _too_large() -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"Request entity too large: limit is {MAX_BODY}")
