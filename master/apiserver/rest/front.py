"""The way in: every request is counted, authenticated, and brought to the resources, or to FastAPI with the rest.

Resource requests bypass FastAPI's own middleware and routing, which take longer than answering them does.
"""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from apimachinery.errors import ApiError, BadRequest, InternalError, Unauthorized
from apimachinery.logging import get_logger

from ..audit.records import Auditor
from ..auth.authenticator import Authenticators
from ..auth.authorizer import Authorizer, RequestAttributes
from ..auth.impersonation import impersonate
from ..auth.request_header import FrontProxies
from ..auth.user import User
from ..fairness.fairness import Fairness
from ..identifiers import AuditIds
from ..registry import refusals
from .audited import audited
from .metrics import RequestMetrics
from .peer import peer_of
from .request import Request
from .respond import send_error, send_refusal

_log = get_logger(__name__)

Handler = Callable[[Request], Awaitable[None]]


class Identities:
    """Who a connection's certificate or a header's token says it is. Tokens are looked at anew for every request: one
    whose account, pod or secret is gone is refused at once."""

    def __init__(self, authenticators: Authenticators, proxies: FrontProxies | None = None) -> None:
        self._authenticators, self._proxies = authenticators, proxies

    async def user(
        self, certificate: bytes | None, authorization: str | None, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> User:
        """``headers`` are ASGI's: a front proxy names its user there. Raises Unauthorized."""
        if self._proxies:
            named, certificate = self._proxies.look(certificate, headers)
            if named:
                return named
        user = await self._authenticators.authenticate(certificate, authorization)
        if user is None:
            raise Unauthorized("Unauthorized")
        return user


class Front:
    """The ASGI application. ``early`` are handlers by path; ``application`` imports and makes what
    answers all that is neither there nor a resource, and is called when that is first asked for. ``width`` tells how
    many seats a request takes."""

    def __init__(
        self,
        resources: Handler,
        width: Callable[[Request], int],
        fairness: Fairness,
        identities: Identities,
        authorizer: Authorizer,
        early: Mapping[str, Handler],
        application: Callable[[], ASGIApp],
        auditor: Auditor | None = None,
    ) -> None:
        self._resources, self._identities, self._authorizer = resources, identities, authorizer
        self._width, self._fairness, self._auditor = width, fairness, auditor
        self._early, self._make_application = early, application
        self._application: asyncio.Task[ASGIApp] | None = None
        self._metrics = RequestMetrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send, _NOBODY, _audit_id())
        began = time.perf_counter()
        try:
            await self._answer(request)
        finally:
            request.error = None  # its traceback leads back to the request: a circle, with the whole body in it
        self._metrics.observe(request, time.perf_counter() - began)

    async def _answer(self, request: Request) -> None:
        try:
            request.user = await self._authenticate(request)
        except Exception as error:  # the loop boundary of requests, like the one below
            await _fail(request, error)
            return
        about = request.locate()
        if self._auditor is None:
            await self._guarded(request, about)
        else:
            await audited(self._auditor, request, about, lambda: self._guarded(request, about))

    async def _guarded(self, request: Request, about: RequestAttributes) -> None:
        try:
            await self._in_turn(request, about)
        except Exception as error:  # the loop boundary of requests
            await _fail(request, error)

    async def _in_turn(self, request: Request, about: RequestAttributes) -> None:
        """Who only sends slowly takes no seat: the body is read first."""
        if request.lasting:
            await self._route(request, about)
            return
        ticket = request.ticket = self._fairness.ticket(about, lambda: self._width(request))
        request.told = ticket.match.headers
        if request.place is not None and request.method not in _BODILESS:
            self._authorize(about)  # before anything is taken in; the registry asks again, for all who write
            await request.body()
        await self._fairness.serve(ticket, self._route(request, about))

    async def _route(self, request: Request, about: RequestAttributes) -> None:
        if request.ticket and request.ticket.has_waited and peer_of(request.scope).gone:
            return  # nobody is there to be answered any more
        path: str = request.scope["path"]
        if path.startswith(("/api/", "/apis/")) or path in ("/api", "/apis"):
            if request.place is None:  # discovery
                self._authorize(about)
            await self._resources(request)
        else:
            self._authorize(about)
            await self._answer_path(request, path)

    async def _answer_path(self, request: Request, path: str) -> None:
        handler = self._early.get(path) or self._early.get(path[: path.rfind("/") + 1])
        if handler:
            await handler(request)
            return
        if self._application is None:  # in a thread: watches go on meanwhile
            self._application = asyncio.create_task(asyncio.to_thread(self._make_application), name="application")
        application = await asyncio.shield(self._application)
        request.scope["state"]["user"] = request.user
        await application(request.scope, request.receive, request.send)

    async def _authenticate(self, request: Request) -> User:
        authorization = request.headers.get(b"authorization")
        user = await self._identities.user(
            peer_of(request.scope).certificate,
            authorization.decode("latin-1") if authorization else _websocket_token(request),
            request.scope["headers"],
        )
        if any(name.startswith(b"impersonate-") for name in request.headers):
            request.impersonator = user
            return impersonate(user, request.scope["headers"], self._authorizer)
        return user

    def _authorize(self, about: RequestAttributes) -> None:
        decision = self._authorizer.authorize(about)
        if not decision.allowed:
            raise refusals.forbidden(about, decision.reason)


def too_deep(error: Exception) -> ApiError | None:
    """Python and orjson both stop at some depth. Nothing has been written then: encoding comes first."""
    if isinstance(error, RecursionError) or (isinstance(error, orjson.JSONEncodeError) and "ecursion" in str(error)):
        return BadRequest("the object is nested too deeply: exceeded max depth")
    return None


_NOBODY = User("")
_BODILESS = ("GET", "HEAD")
_audit_id = AuditIds()
_TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io."  # noqa: S105 - a protocol's name


def _websocket_token(request: Request) -> str | None:
    """Browsers cannot set Authorization on a WebSocket, so upstream takes the token from a subprotocol, too.
    Raises Unauthorized for one that is not in base64."""
    offered = request.headers.get(b"sec-websocket-protocol", b"").decode("latin-1")
    if _TOKEN_PROTOCOL not in offered:
        return None
    encoded = next(p for p in map(str.strip, offered.split(",")) if p.startswith(_TOKEN_PROTOCOL))
    token = encoded[len(_TOKEN_PROTOCOL) :]
    try:
        return "Bearer " + base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except ValueError as error:
        raise Unauthorized("Unauthorized") from error


async def _fail(request: Request, error: Exception) -> None:
    """Answer what went wrong."""
    if isinstance(error, ApiError):
        await _refuse(request, error)
    elif refused := too_deep(error):
        await _refuse(request, refused)
    else:
        _log.exception("Request failed", path=request.scope["path"], method=request.method)
        await _refuse(request, InternalError("Internal error occurred: see the API server's log"))


async def _refuse(request: Request, error: ApiError) -> None:
    request.error = error
    if request.started:
        return  # a response is under way: all that is left is to end it
    if request.scope["type"] == "websocket":
        await send_refusal(request, error)
    else:
        await send_error(request, error)
