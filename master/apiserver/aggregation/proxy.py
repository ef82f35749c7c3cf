"""Requests for aggregated APIs: authorized here, then passed on with the user's identity in headers.

The other server believes these headers because our client certificate is signed by the front-proxy CA, which it reads
from the ConfigMap ``kube-system/extension-apiserver-authentication``.
"""

from typing import Any
from urllib.parse import quote

from apimachinery.errors import ServiceUnavailable
from apimachinery.logging import get_logger

from ..auth.user import User
from ..outgoing.trust import Connect
from ..registry.pipeline import Pipeline, Target
from ..rest.request import Place, Request
from .table import ApiServices, base_url, is_available, made_up_kind, trust_of

Object = dict[str, Any]
_log = get_logger(__name__)
_HEADER_CHARACTERS = "!#$&'*+-.^_`|~"
_OUR_HEADERS = (b"x-remote-user", b"x-remote-uid", b"x-remote-group")
_OUR_EXTRA = b"x-remote-extra-"


class Aggregator:
    """``certificate``: files of our front-proxy client certificate and its key, if there are any."""

    def __init__(self, table: ApiServices, connect: Connect, certificate: tuple[str, str] | None) -> None:
        self.table = table
        self._connect, self._certificate = connect, certificate
        self._forwarder: Any = None

    @property
    def forwarder(self) -> Any:
        """Its HTTP client takes a tenth of a second to import: the first request pays for it."""
        if self._forwarder is None:
            from ..outgoing.forward import Forwarder

            self._forwarder = Forwarder(self._connect)
        return self._forwarder

    @property
    def certificate(self) -> tuple[str, str] | None:
        return self._certificate

    async def close(self) -> None:
        if self._forwarder is not None:
            await self._forwarder.close()

    async def serve(self, request: Request, place: Place | None, pipeline: Pipeline, api_service: Object) -> None:
        """``place`` is None for the discovery of the group version. Raises ApiError."""
        if place is not None:
            kind = made_up_kind(place.group, place.version, place.resource)
            target = Target(kind, place.namespace, place.name, place.subresource)
            request.target = target
            pipeline.authorize(request.user, request.locate().verb, target)
        if not is_available(api_service):
            raise _unavailable()
        await self._forward(request, api_service)

    async def _forward(self, request: Request, api_service: Object) -> None:
        from ..outgoing.forward import Destination, Unreachable, forwarded_headers

        scope = request.scope
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        query: bytes = scope["query_string"]
        url = base_url(api_service) + raw.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
        headers = [h for h in forwarded_headers(scope, _OUR_HEADERS) if not h[0].startswith(_OUR_EXTRA)]

        if request.ticket:
            request.ticket.leave()  # from here on it is the other server's load
        try:
            to = Destination(url, headers + identity_headers(request.user), trust_of(api_service, self._certificate))
            await self.forwarder.forward(to, scope, request.replay(), request.pass_on)
        except (Unreachable, ValueError) as error:
            _log.warning("An aggregated API server was not reached", url=url, error=str(error))
            raise _unavailable() from error


def identity_headers(user: User) -> list[tuple[bytes, bytes]]:
    """Who a request is from, for a server that trusts us to say so."""
    headers = [(b"X-Remote-User", user.name.encode())]
    if user.uid:
        headers.append((b"X-Remote-Uid", user.uid.encode()))
    headers += [(b"X-Remote-Group", group.encode()) for group in user.groups]
    for key, values in user.extra.items():
        name = b"X-Remote-Extra-" + quote(key, safe=_HEADER_CHARACTERS).encode()
        headers += [(name, value.encode()) for value in values]
    return headers


def _unavailable() -> ServiceUnavailable:
    return ServiceUnavailable("the server is currently unable to handle the request")
