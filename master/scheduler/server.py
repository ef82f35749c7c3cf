"""Serves ``kubeto.v1.Scheduler`` over mTLS: only the API server and cluster administrators may ask."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import grpc
from cryptography import x509
from cryptography.x509.oid import NameOID
from grpc import aio

from apimachinery.rpc import SERVER_OPTIONS
from master.scheduler.explain import Explanation
from protos.kubeto.v1 import scheduler_pb2 as pb
from protos.kubeto.v1 import scheduler_pb2_grpc as pb_grpc

_GROUPS = {"system:masters", "kubeto:node-clients"}
_USERS = {"kube-apiserver-kubelet-client"}


@dataclass(frozen=True)
class ServingFiles:
    """Paths of PEM files."""

    certificate: str
    key: str
    client_ca: str

    def credentials(self) -> grpc.ServerCredentials:
        """Read them. Raises OSError."""
        pair = (Path(self.key).read_bytes(), Path(self.certificate).read_bytes())
        return grpc.ssl_server_credentials([pair], Path(self.client_ca).read_bytes(), require_client_auth=True)


class SchedulerService(pb_grpc.SchedulerServicer):
    """``explain(namespace, pod)`` answers, or None while this process does not lead."""

    def __init__(self, explain: Callable[[str, str], Explanation | None]) -> None:
        self._explain = explain

    async def Explain(  # noqa: N802 - named by the protocol
        self, request: pb.ExplainRequest, context: "aio.ServicerContext[pb.ExplainRequest, pb.ExplainReply]"
    ) -> pb.ExplainReply:
        if not _is_allowed(context.auth_context()):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "only the API server may ask the scheduler")
        found = self._explain(request.namespace, request.pod)
        if found is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this scheduler does not lead")
        return _reply(found)


async def serve(service: SchedulerService, host: str, port: int, files: ServingFiles) -> aio.Server:
    """Start the server. Raises OSError if a file cannot be read or the port is taken."""
    server = aio.server(options=SERVER_OPTIONS)
    pb_grpc.add_SchedulerServicer_to_server(service, server)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        server.add_secure_port(address, files.credentials())
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
    await server.start()
    return server


def published_address(bind_address: str, port: int, api_server: str) -> str:
    """What others dial: the bind address, or, where that is all of them, the one on the way to the API server."""
    host = bind_address
    if host in {"0.0.0.0", "::", ""}:
        target = urlsplit(api_server)
        probe = (target.hostname or "127.0.0.1", target.port or 443)
        family = socket.getaddrinfo(*probe, type=socket.SOCK_DGRAM)[0][0]
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(probe)  # sends nothing: it only chooses a route
            host = sock.getsockname()[0]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_allowed(auth: "dict[str, list[bytes]] | object") -> bool:
    pem = auth.get("x509_pem_cert") if isinstance(auth, dict) else None
    if not pem:
        return False
    subject = x509.load_pem_x509_certificate(pem[0]).subject
    users = {str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
    groups = {str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)}
    return bool(users & _USERS or groups & _GROUPS)


def _reply(found: Explanation) -> pb.ExplainReply:
    nodes = [
        pb.NodeVerdict(
            node=v.node,
            feasible=v.feasible,
            plugin=v.plugin,
            reason=v.reason,
            detail=v.detail,
            remedy=v.remedy,
            score=v.score,
            scores=v.scores,
        )
        for v in found.nodes
    ]
    return pb.ExplainReply(state=found.state, node=found.node, summary=found.summary, nodes=nodes)
