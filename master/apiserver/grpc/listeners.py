"""The two inside listeners: one that demands a client certificate, one for tokens. Both are TLS."""

from pathlib import Path
from typing import Any

import grpc

from apimachinery.rpc import SERVER_OPTIONS
from protos.kubeto.v1 import apiserver_pb2 as pb
from protos.kubeto.v1.apiserver_pb2_grpc import add_ApiServerServicer_to_server

from ..settings import ServingSettings
from .service import ApiServerService

_SERVICE = pb.DESCRIPTOR.services_by_name["ApiServer"].full_name


def _watch_handler(service: ApiServerService) -> Any:
    """The handler of Watch, which writes bytes."""
    return grpc.stream_stream_rpc_method_handler(service.Watch, request_deserializer=pb.WatchRequest.FromString)


class Listeners:
    """Started before the HTTPS port: who asks there for the inside ports finds them open."""

    def __init__(self, service: ApiServerService, serving: ServingSettings, *, shared: bool = False) -> None:
        """``shared``: other processes listen on the same ports."""
        self._serving = serving
        self._options = [*(dict(SERVER_OPTIONS) | {"grpc.so_reuseport": int(shared)}).items()]
        key, certificate = (Path(f).read_bytes() for f in (serving.tls_private_key_file, serving.tls_cert_file))
        self._servers = [
            self._server(service, serving.grpc_token_port, grpc.ssl_server_credentials([(key, certificate)]))
        ]
        if serving.client_ca_file:
            ca = Path(serving.client_ca_file).read_bytes()
            credentials = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
            self._servers.append(self._server(service, serving.grpc_port, credentials))

    def _server(self, service: ApiServerService, port: int, credentials: grpc.ServerCredentials) -> grpc.aio.Server:
        """Raises RuntimeError, from grpc, if the port is taken."""
        server = grpc.aio.server(options=self._options)
        add_ApiServerServicer_to_server(service, server)
        # In the place of the generated handler; grpc's type stubs do not know the method.
        server.add_registered_method_handlers(_SERVICE, {"Watch": _watch_handler(service)})  # type: ignore[attr-defined]
        host = self._serving.bind_address
        server.add_secure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", credentials)
        return server

    async def start(self) -> None:
        for server in self._servers:
            await server.start()

    async def stop(self) -> None:
        """End all calls within a second."""
        for server in self._servers:
            await server.stop(grace=1.0)
