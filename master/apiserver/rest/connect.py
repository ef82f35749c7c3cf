"""What the REST front calls for connections: exec, attach, port-forward, logs and proxies.

A connector is an ASGI app with the parsed request in front. Authentication, authorization (verb ``get`` or ``create``
by method, as upstream) and CONNECT admission are done by the caller; an ApiError raised before the response has
started becomes a Status.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from apimachinery.scheme import Kind

from ..auth.user import User
from ..registry.subresources import subresource_kind
from .query import Query


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


def options_of(scope: Scope, kind: Kind, subresource: str, path: str) -> dict[str, Any]:
    """What admission sees as the object of a CONNECT; {} for what is none to it, such as reading logs."""
    query = Query(scope)
    asked: dict[str, Any]
    match subresource:
        case "exec" | "attach":
            asked = {name: query.flag(name) for name in ("stdin", "stdout", "stderr", "tty")}
            asked |= {"container": query.text("container"), "command": list(query.texts("command"))}
        case "portforward":
            ports = [p for text in query.texts("ports") for p in text.split(",")]
            asked = {"ports": [int(p) for p in ports if p.isdigit()]}
        case "proxy":
            asked = {"path": path}
        case _:
            return {}
    group, version, name, _ = subresource_kind(kind, subresource)
    said = {key: value for key, value in asked.items() if value}
    return {"kind": name, "apiVersion": f"{group}/{version}" if group else version, **said}


Connectors = Mapping[tuple[str, str, str], Connector]
"""By group, resource and subresource, such as ``("", "pods", "exec")``. ``scope["type"]`` is http or websocket."""
