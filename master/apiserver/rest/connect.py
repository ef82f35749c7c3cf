"""What the REST front calls for connections: exec, attach, port-forward, logs and proxies.

A connector is an ASGI app with the parsed request in front. Authentication, authorization (verb ``get`` or ``create``
by method, as upstream) and CONNECT admission are done by the caller; an ApiError raised before the response has
started becomes a Status.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from starlette.types import Receive, Scope, Send

from apimachinery.scheme import Kind

from ..auth.user import User


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """``path`` is what follows the subresource (proxy only): "" without a trailing slash, else beginning with one."""

    user: User
    kind: Kind
    subresource: str
    namespace: str
    name: str
    path: str
    method: str


class Connector(Protocol):
    async def __call__(self, request: ConnectRequest, scope: Scope, receive: Receive, send: Send) -> None: ...


Connectors = Mapping[tuple[str, str, str], Connector]
"""By group, resource and subresource, such as ``("", "pods", "exec")``. ``scope["type"]`` is http or websocket."""
