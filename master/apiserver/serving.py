"""What is served: the front that every request comes to, the health checks behind it, and HTTPS by uvicorn."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from . import tls
from .assembly import Assembly
from .rest.discovery import Discovery
from .rest.front import Front
from .rest.health import Health, early
from .rest.peer import PeerProtocol, PeerWebSocket
from .rest.resources import Resources
from .settings import Settings
from .storage.etcd import EtcdStorage
from .storage.interface import Unavailable

KEEP_ALIVE_SECONDS = 180
ETCD_CHECK_SECONDS = 2.0
"""Upstream's default of ``--etcd-healthcheck-timeout``."""


def front(server: Assembly, draining: Callable[[], bool]) -> Front:
    """The ASGI application. While ``draining``, the server says that it is not ready."""
    serving, auth = server.settings.serving, server.auth
    connections, catalog = server.connections, server.store.catalog
    inside = {"mtlsPort": serving.grpc_port, "tokenPort": serving.grpc_token_port}
    health = _health(server.store.storage, draining)

    def application() -> ASGIApp:
        from .rest import application  # with FastAPI, which a cluster's own processes have no need of

        return application.build(auth, catalog, server.documents, connections.scheduler)

    aggregator = connections.aggregator
    discovery = Discovery(catalog, aggregator.table, server.documents, str(server.address))
    resources = Resources(server.registry, discovery, connections.connectors(), aggregator)
    return Front(
        resources,
        resources.width,
        server.fairness,
        server.identities,
        auth.authorizer,
        early(health, inside),
        application,
        server.auditor,
    )


def _health(storage: EtcdStorage, draining: Callable[[], bool]) -> Health:
    async def etcd_answers() -> str:
        try:
            async with asyncio.timeout(ETCD_CHECK_SECONDS):
                await storage.revision()
        except Unavailable as error:
            return str(error)
        except TimeoutError:
            return f"etcd does not answer within {ETCD_CHECK_SECONDS:g} s"
        return ""

    async def not_draining() -> str:
        return "shutting down" if draining() else ""

    async def ping() -> str:
        return ""

    live = {"ping": ping, "log": ping, "etcd": etcd_answers}
    return Health(live, {**live, "etcd-readiness": etcd_answers, "shutdown": not_draining})


class HttpsServer(uvicorn.Server):
    """uvicorn without its own signal handling: the process has one place for that. Set ``exiting`` to end it."""

    def __init__(self, api: Front, settings: Settings) -> None:
        super().__init__(_uvicorn_config(api, settings))
        self.exiting, self.stopped = asyncio.Event(), asyncio.Event()

    async def until_started(self) -> None:
        """Raises OSError if the port cannot be listened on."""
        while not self.started:
            if self.should_exit:
                raise OSError(f"cannot listen on {self.config.host}:{self.config.port}")
            await asyncio.sleep(0.005)

    async def main_loop(self) -> None:
        """Once a second, for the Date header; uvicorn's own wakes ten times a second, which an idle server pays for."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.exiting.wait(), 1.0)
            self.should_exit = self.should_exit or self.exiting.is_set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().serve(sockets)
        finally:
            self.stopped.set()


def _uvicorn_config(api: Front, settings: Settings) -> uvicorn.Config:
    serving = settings.serving
    config = uvicorn.Config(
        api,
        host=serving.bind_address,
        port=serving.secure_port,
        http=PeerProtocol,
        ws=PeerWebSocket,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=3,
        ssl_certfile=serving.tls_cert_file,
        ssl_keyfile=serving.tls_private_key_file,
    )
    config.load()
    config.ssl = tls.server_context(serving, settings.request_header.client_ca_file)
    return config
