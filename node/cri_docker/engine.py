"""The Docker Engine API over its unix socket, for asyncio: what every call of a pod's life goes through.

One small client instead of the SDK's blocking one, because calls of different pods must never wait for each
other, an event stream must wake a coroutine, and exec and attach need the hijacked socket itself. The image calls
(slow, rare, with credentials) stay with the SDK: see ``registry``.

Guarantees: every call ends, by an answer or by a time limit; errors are ``EngineError`` (the engine said no)
or ``EngineUnavailable`` (nobody answered). A call may have been carried out although its answer was lost:
callers are built to be repeated.
"""

import asyncio
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import orjson

from apimachinery.logging import get_logger

API_VERSION = "1.41"
CALL_SECONDS = 60.0
STREAM_SECONDS = 10.0
_SLOW_SECONDS, _PROBE_SECONDS = 1.0, 5.0
_IDLE_CONNECTIONS = 8
_HEAD_LIMIT = 1 << 20
log = get_logger(__name__)


class EngineError(Exception):
    """The engine refused a call. ``status`` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message

    @property
    def not_found(self) -> bool:
        return self.status == 404

    @property
    def conflict(self) -> bool:
        return self.status == 409


class EngineUnavailable(EngineError):
    """The engine did not answer: it is down, restarting or hanging."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message)


class Connection:
    """One HTTP/1.1 connection; after an upgrade, a raw byte stream both ways."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.used = False

    async def request(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> "Response":
        lines = [f"{method} {target} HTTP/1.1", "Host: docker", f"Content-Length: {len(body or b'')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
            await self.writer.drain()
        except RuntimeError as error:  # uvloop's word for a transport that is closed
            raise ConnectionResetError(str(error)) from error
        head = await self.reader.readuntil(b"\r\n\r\n")
        status_line, *header_lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in header_lines)}
        return Response(self, int(status_line.split(" ", 2)[1]), fields)

    def close(self) -> None:
        self.writer.close()


class Response:
    def __init__(self, connection: Connection, status: int, headers: dict[str, str]) -> None:
        self.connection, self.status, self.headers = connection, status, headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Ends at the body's end."""
        reader = self.connection.reader
        if self.status in (101, 204, 304):
            return
        if self.headers.get("transfer-encoding", "") == "chunked":
            while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
                yield await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readline()
            return
        left = int(self.headers.get("content-length", "0"))
        while left:
            part = await reader.read(min(left, 1 << 18))
            if not part:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(part)
            yield part

    async def body(self) -> bytes:
        return b"".join([part async for part in self.chunks()])

    async def error(self) -> EngineError:
        body = await self.body()
        try:
            message = orjson.loads(body)["message"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            message = body.decode(errors="replace").strip() or f"HTTP status {self.status}"
        return EngineError(self.status, message)


class Engine:
    """Calls to one Docker engine. ``address`` is ``unix:///path``: a CRI runtime shares the machine with it."""

    def __init__(self, address: str) -> None:
        if not address.startswith("unix://"):
            raise ValueError(f"--docker-host {address}: only unix:// is supported, pods' namespaces must be local")
        self.path = address.removeprefix("unix://")
        self._idle: list[Connection] = []
        self._pid = 0

    async def get(self, path: str, *, timeout: float = CALL_SECONDS, **query: Any) -> Any:
        return await self.call("GET", path, query=query, timeout=timeout)

    async def post(self, path: str, body: Any = None, *, timeout: float = CALL_SECONDS, **query: Any) -> Any:
        return await self.call("POST", path, body=body, query=query, timeout=timeout)

    async def delete(self, path: str, *, timeout: float = CALL_SECONDS, **query: Any) -> Any:
        return await self.call("DELETE", path, query=query, timeout=timeout)

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        timeout: float = CALL_SECONDS,
    ) -> Any:
        """One call; its JSON answer, or None where the engine has none.

        Raises EngineError, and EngineUnavailable after ``timeout`` seconds or where nobody listens.
        """
        payload, headers = _encode(body)
        began = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                return await self._call(method, _target(path, query), payload, headers)
        except TimeoutError:
            raise EngineUnavailable(f"the engine did not answer {method} {path} within {timeout:g} s") from None
        finally:
            if (took := time.monotonic() - began) > _SLOW_SECONDS and not path.endswith("/stop"):
                log.info("Engine was slow", call=f"{method} {path}", seconds=round(took, 2))

    async def _call(self, method: str, target: str, payload: bytes | None, headers: Mapping[str, str]) -> Any:
        connection, response = await self._respond(method, target, payload, headers)
        try:
            error = await response.error() if response.status >= 400 else None
            answer = b"" if error else await response.body()
        except (OSError, asyncio.IncompleteReadError) as broken:
            connection.close()
            raise EngineUnavailable(f"the engine broke off {method} {target}: {broken}") from broken
        except asyncio.CancelledError:
            connection.close()
            raise
        self._give_back(connection, response)
        if error:
            raise error
        return orjson.loads(answer) if answer else None

    async def _respond(
        self, method: str, target: str, payload: bytes | None, headers: Mapping[str, str]
    ) -> tuple[Connection, Response]:
        """Send on an idle connection, or on a new one where the idle one turns out to be dead."""
        while True:
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                return connection, await connection.request(method, target, payload, headers)
            except (OSError, asyncio.IncompleteReadError) as error:
                connection.close()
                if not connection.used:
                    raise EngineUnavailable(f"the engine broke off {method} {target}: {error}") from error
            except asyncio.CancelledError:
                connection.close()
                raise

    async def _connect(self) -> Connection:
        try:
            return Connection(*await asyncio.open_unix_connection(self.path, limit=_HEAD_LIMIT))
        except OSError as error:
            raise EngineUnavailable(f"no Docker engine at {self.path}: {error.strerror or error}") from error

    def _give_back(self, connection: Connection, response: Response) -> None:
        connection.used = True
        if response.headers.get("connection", "").lower() == "close" or len(self._idle) >= _IDLE_CONNECTIONS:
            connection.close()
        else:
            self._idle.append(connection)

    @asynccontextmanager
    async def stream(self, path: str, **query: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        """A GET without an end, as the engine sends it; it has to begin in time. Has a connection of its own."""
        try:
            async with asyncio.timeout(STREAM_SECONDS):
                connection, response = await self._respond("GET", _target(path, query), None, {})
        except TimeoutError:
            raise EngineUnavailable(f"the engine did not answer GET {path} within {STREAM_SECONDS:g} s") from None
        try:
            if response.status >= 400:
                raise await response.error()
            yield _whole(response.chunks(), path)
        finally:
            connection.close()

    async def hijack(self, path: str, body: Any = None, **query: Any) -> Connection:
        """POST and take over the connection: exec and attach. The caller closes it."""
        payload, headers = _encode(body)
        connection = await self._connect()
        try:
            upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"} | headers
            async with asyncio.timeout(CALL_SECONDS):
                response = await connection.request("POST", _target(path, query), payload, upgrade)
                if response.status >= 400:
                    raise await response.error()
        except TimeoutError:
            connection.close()
            raise EngineUnavailable(f"the engine did not answer POST {path}") from None
        except (OSError, asyncio.IncompleteReadError) as error:
            connection.close()
            raise EngineUnavailable(f"the engine broke off POST {path}: {error}") from error
        except BaseException:
            connection.close()
            raise
        return connection

    def peer_pid(self) -> int:
        """The pid of the engine, as the kernel tells it for the socket (of init under socket activation).

        Remembered until ``close``: a connect may block.
        """
        if self._pid:
            return self._pid
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_SECONDS)
            try:
                probe.connect(self.path)
            except OSError as error:
                raise EngineUnavailable(f"no Docker engine at {self.path}: {error.strerror}") from error
            pid: int = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        self._pid = pid or os.getpid()
        return self._pid

    def close(self) -> None:
        """Forget what belongs to this engine process; calls may go on, to the next one."""
        self._pid = 0
        while self._idle:
            self._idle.pop().close()


async def _whole(chunks: AsyncIterator[bytes], path: str) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield chunk
    except (OSError, asyncio.IncompleteReadError) as error:
        raise EngineUnavailable(f"the engine broke off GET {path}: {error}") from error


def _target(path: str, query: Mapping[str, Any] | None) -> str:
    values = {k: _query_value(v) for k, v in (query or {}).items() if v is not None}
    return f"/v{API_VERSION}{path}" + (f"?{urlencode(values)}" if values else "")


def _query_value(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return orjson.dumps(value).decode() if isinstance(value, dict) else str(value)


def _encode(body: Any) -> tuple[bytes | None, dict[str, str]]:
    return (None, {}) if body is None else (orjson.dumps(body), {"Content-Type": "application/json"})
