"""A channel to one etcd server: calls on one connection, which is opened when needed and again when it is lost."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from typing import Any, Protocol

from .calls import Call, CallFailed, ConnectionLost
from .http2 import Connection

CONNECT_SECONDS = 3.0
_DEADLINE_EXCEEDED, _UNAVAILABLE = 4, 14


class Message(Protocol):
    """What of a protobuf message is needed."""

    def SerializeToString(self) -> bytes: ...  # noqa: N802


class Reply(Protocol):
    """What of a reply's type is needed."""

    @staticmethod
    def FromString(data: bytes) -> Any: ...  # noqa: N802


class RpcError(Exception):
    """A call failed: ``code`` is gRPC's, ``details`` the server's words, or ours if it could not be reached."""

    def __init__(self, code: int, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


class Channel:
    """``tls`` as ``ssl`` has it; None is clear text."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None

    def close(self) -> None:
        if self._connection:
            self._connection.close()

    async def unary(self, path: bytes, request: Message, reply: type[Reply], timeout: float) -> Any:
        """Raises RpcError."""
        try:
            async with asyncio.timeout(timeout):
                connection = await self._connected()
                call = await connection.call(path, request.SerializeToString())
                try:
                    message = await call.receive()
                    if message is not None:
                        await call.receive()
                finally:
                    connection.cancel(call)
        except (CallFailed, ConnectionLost, OSError) as error:
            raise _translated(error) from error
        if message is None:
            raise RpcError(_UNAVAILABLE, "the response is empty")
        return reply.FromString(message)

    async def stream(self, path: bytes, request: Message, reply: type[Reply]) -> AsyncGenerator[Any, None]:
        """The replies to one request on a stream that stays open. Raises RpcError, also when the server ends it."""
        call: Call | None = None
        try:
            connection = await self._connected()
            call = await connection.call(path, request.SerializeToString(), more=True)
            while (message := await call.receive()) is not None:
                yield reply.FromString(message)
        except (CallFailed, ConnectionLost, OSError) as error:
            raise _translated(error) from error
        finally:
            if call:
                connection.cancel(call)

    async def _connected(self) -> Connection:
        """Raises OSError, TimeoutError. Who comes while it is being opened waits for the same one."""
        if self._connection and not self._connection.closed:
            return self._connection
        if self._opening is None:
            opening = Connection.open(self._host, self._port, self._tls, CONNECT_SECONDS)
            self._opening = asyncio.create_task(opening, name="connect to etcd")
        opened = self._opening
        try:
            self._connection = await asyncio.shield(opened)
        finally:
            if opened.done():
                self._opening = None
            del opened  # its error leads back here
        return self._connection


def _translated(error: Exception) -> RpcError:
    if isinstance(error, CallFailed):
        return RpcError(error.code, error.message)
    if isinstance(error, TimeoutError):
        return RpcError(_DEADLINE_EXCEEDED, "no answer in time")
    return RpcError(_UNAVAILABLE, str(error) or type(error).__name__)
