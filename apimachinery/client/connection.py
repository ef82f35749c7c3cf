"""The one gRPC channel of a process to its API server.

The kubeconfig names the HTTPS port only. ``GET /kubeto/v1/inside`` there says on which ports of the same host
the gRPC listeners are; after every break it is asked again, so a server that came back elsewhere is found.
"""

import asyncio
import http.client
import math
import ssl
import time
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import grpc
import orjson

from apimachinery import errors
from apimachinery.backoff import Backoff
from apimachinery.config import ClusterAccess, ConfigError
from apimachinery.logging import get_logger
from apimachinery.rpc import CLIENT_OPTIONS, client_credentials
from protos.kubeto.v1 import apiserver_pb2 as pb
from protos.kubeto.v1.apiserver_pb2_grpc import ApiServerStub

if TYPE_CHECKING:
    from protos.kubeto.v1.apiserver_pb2_grpc import ApiServerAsyncStub

_log = get_logger(__name__)

_LOOKUP_TIMEOUT_SECONDS = 5.0
# A cluster's processes start together: its nodes are Ready sooner when they see at once that the server listens.
_EAGER_SECONDS, _EAGER_DELAY = 10.0, 0.1
_STATUS_TRAILER = "kubeto-status-bin"
_T = TypeVar("_T")

_BY_CODE: dict[grpc.StatusCode, type[errors.ApiError]] = {
    grpc.StatusCode.UNAVAILABLE: errors.ServiceUnavailable,
    grpc.StatusCode.CANCELLED: errors.ServiceUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.Timeout,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthorized,
    grpc.StatusCode.PERMISSION_DENIED: errors.Forbidden,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.RequestEntityTooLarge,
    grpc.StatusCode.UNIMPLEMENTED: errors.NotImplementedByServer,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
}


def api_error(error: grpc.aio.AioRpcError) -> errors.ApiError:
    """The API error that a failed call tells of: its Status trailer, else one that fits its code."""
    status = _status_trailer(error)
    if status is not None:
        return errors.from_status(orjson.loads(status))
    cls = _BY_CODE.get(error.code(), errors.InternalError)
    return cls(f"call to the API server failed: {error.code().name}: {error.details()}")


def _status_trailer(error: grpc.aio.AioRpcError) -> bytes | None:
    trailer: Any
    for trailer in error.trailing_metadata() or ():
        if trailer[0] == _STATUS_TRAILER:
            return bytes(trailer[1])
    return None


class Connection:
    """Implements ``client.types.Rpc`` over gRPC. Make it with ``open``."""

    def __init__(self, access: ClusterAccess, user_agent: str, timeout_seconds: float) -> None:
        self._access = access
        self._user_agent = user_agent
        self._timeout = timeout_seconds
        self._target = ""
        self._channel: grpc.aio.Channel | None = None
        self._stub: ApiServerAsyncStub | None = None
        self._suspect = False  # a call failed to reach the server: look the port up before the next
        self._finding: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, access: ClusterAccess, user_agent: str, timeout_seconds: float = 30.0) -> "Connection":
        """Wait, with back-off, until the API server answers.

        Raises ConfigError for an access that can never work and Unauthorized or Forbidden for credentials that
        the server refuses.
        """
        if access.insecure:
            raise ConfigError(
                "insecure-skip-tls-verify is not supported here: give the cluster's certificate-authority"
            )
        self = cls(access, user_agent, timeout_seconds)
        backoff, eager_until = Backoff(initial=0.05, maximum=2.0), time.monotonic() + _EAGER_SECONDS
        while True:
            try:
                await self._find()
                return self
            except (OSError, errors.ServiceUnavailable, errors.InternalError, http.client.HTTPException) as error:
                if isinstance(error, ssl.SSLCertVerificationError):
                    raise ConfigError(f"{access.server}: {error.verify_message}") from error
                if backoff.failures in {0, 5} or backoff.failures % 20 == 0:
                    _log.info("Waiting for the API server", server=access.server, error=str(error))
                longest = _EAGER_DELAY if time.monotonic() < eager_until else math.inf
                await asyncio.sleep(min(backoff.next(), longest))

    async def _find(self) -> None:
        """Ask where the gRPC port is, and move the channel if it is not where it was."""
        ports = await asyncio.to_thread(_ask_inside, self._access)
        port = ports["mtlsPort"] if self._access.client_certificate else ports["tokenPort"]
        host = urlsplit(self._access.server).hostname or ""
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if target != self._target:
            await self._connect(target)

    async def _connect(self, target: str) -> None:
        old = self._channel
        options = [*CLIENT_OPTIONS, ("grpc.primary_user_agent", self._user_agent)]
        self._channel = grpc.aio.secure_channel(target, client_credentials(self._access), options=options)
        self._stub = ApiServerStub(self._channel)
        self._target = target
        _log.debug("Connected to the API server", target=target)
        if old is not None:
            await old.close(grace=None)

    async def _ready(self) -> "ApiServerAsyncStub":
        """The stub, after having looked for the server again if it was lost. Lookups at one time share one."""
        if self._suspect:
            if self._finding is None:
                self._finding = asyncio.create_task(self._find(), name="find-apiserver")
                self._finding.add_done_callback(self._found)
            try:
                await asyncio.shield(self._finding)
            except (OSError, http.client.HTTPException) as error:
                raise errors.ServiceUnavailable(
                    f"the API server at {self._access.server} does not answer: {error}"
                ) from error
        if self._stub is None:
            raise errors.ServiceUnavailable("the connection to the API server is closed")
        return self._stub

    def _found(self, task: asyncio.Task[None]) -> None:
        self._finding = None
        if not task.cancelled() and task.exception() is None:
            self._suspect = False

    async def _call(self, call: Awaitable[_T]) -> _T:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error

    def _translate(self, error: grpc.aio.AioRpcError) -> errors.ApiError:
        # With a Status it is the server's own answer (its etcd is away, say): then the server is where it was.
        if error.code() is grpc.StatusCode.UNAVAILABLE and _status_trailer(error) is None:
            self._suspect = True
        return api_error(error)

    async def get(self, request: pb.GetRequest) -> pb.ObjectReply:
        return await self._call((await self._ready()).Get(request, timeout=self._timeout))

    async def list(self, request: pb.ListRequest) -> pb.ListReply:
        return await self._call((await self._ready()).List(request, timeout=self._timeout))

    async def write(self, request: pb.WriteRequest) -> pb.WriteReply:
        return await self._call((await self._ready()).Write(request, timeout=self._timeout))

    async def bind(self, request: pb.BindRequest) -> pb.BindReply:
        return await self._call((await self._ready()).Bind(request, timeout=self._timeout))

    async def watch(self, requests: AsyncIterator[pb.WatchRequest]) -> AsyncIterator[pb.WatchReply]:
        stream = (await self._ready()).Watch(requests)
        try:
            async for reply in stream:
                yield reply
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error
        except asyncio.CancelledError:
            # grpc.aio raises this, too, when the channel under the stream was replaced.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise errors.ServiceUnavailable("the watch stream was cut off") from None
        finally:
            stream.cancel()
        raise errors.ServiceUnavailable("the API server ended the watch stream")

    async def close(self) -> None:
        self._stub = None
        if self._channel is not None:
            await self._channel.close(grace=None)
            self._channel = None


def _ask_inside(access: ClusterAccess) -> dict[str, int]:
    """The ports of ``GET /kubeto/v1/inside``. Blocking. Raises OSError, HTTPException or ApiError."""
    url = urlsplit(access.server)
    if url.scheme != "https":
        raise ConfigError(f"the server {access.server!r} must be an https URL")
    connection = http.client.HTTPSConnection(
        url.hostname or "", url.port or 443, timeout=_LOOKUP_TIMEOUT_SECONDS, context=access.tls()
    )
    try:
        headers = {"Accept": "application/json"}
        if access.token and not access.client_certificate:
            headers["Authorization"] = f"Bearer {access.token}"
        connection.request("GET", f"{url.path}/kubeto/v1/inside", headers=headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise errors.from_status(_status(response.status, body))
    ports: dict[str, int] = orjson.loads(body)
    return ports


def _status(code: int, body: bytes) -> errors.Status:
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        status = None
    return status if isinstance(status, dict) else {"code": code, "message": f"GET /kubeto/v1/inside answered {code}"}
