"""HTTP as an attacker speaks it: bytes on a TLS connection, and what comes back; nothing is checked on the way out."""

import json
import socket
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.control_plane import ADMIN_TOKEN, ApiServerProgram

PATIENCE = 20.0
"""Seconds without a byte after which a server counts as hung: twice its own limit for a call to etcd."""


class Hung(AssertionError):
    """Nothing came in time."""


@dataclass(frozen=True)
class Answer:
    code: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def tls(server: ApiServerProgram) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=server.ca_file)


class Wire:
    """One connection. ``sendall`` may fail when the server has had enough: that is its right."""

    def __init__(self, server: ApiServerProgram, context: ssl.SSLContext) -> None:
        plain = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        self.socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self._buffer = b""

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            return

    def answer(self, method: str = "GET") -> Answer | None:
        """The next response, or None when the server has closed instead. Raises Hung."""
        try:
            head = self._until(b"\r\n\r\n")
            while head and b" 100 " in head.split(b"\r\n", 1)[0]:
                head = self._until(b"\r\n\r\n")
            if not head:
                return None
            status, *lines = head.split(b"\r\n")
            headers = [(k.lower(), v.strip()) for k, _, v in (line.partition(b":") for line in lines if line)]
            return Answer(int(status.split(b" ")[1]), headers, self._body(dict(headers), method))
        except TimeoutError as error:
            raise Hung(f"nothing more after {self._buffer[:200]!r}") from error
        except (ConnectionError, ssl.SSLError):
            return None

    def rest(self) -> bytes:
        """All that comes until the server closes. Raises Hung."""
        try:
            while self._more():
                pass
        except TimeoutError as error:
            raise Hung(f"the connection stays open after {self._buffer[-200:]!r}") from error
        except (ConnectionError, ssl.SSLError):
            pass
        return self._buffer

    def close(self) -> None:
        self.socket.close()

    def _body(self, headers: dict[bytes, bytes], method: str) -> bytes:
        if method == "HEAD":
            return b""
        if headers.get(b"transfer-encoding") == b"chunked":
            return self._chunks()
        return self._exactly(int(headers.get(b"content-length", b"0")))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n") or b"0", 16):
            body += self._exactly(size + 2)[:-2]
        self._until(b"\r\n")
        return body

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            if not self._more():
                return b""
        found, _, self._buffer = self._buffer.partition(mark)
        return found + mark

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not self._more():
                raise ConnectionError("the body ended early")
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _more(self) -> bool:
        data = self.socket.recv(65536)
        self._buffer += data
        return bool(data)


def message(
    method: str, path: str | bytes, body: bytes = b"", headers: Any = (), *, token: str | bytes = ADMIN_TOKEN
) -> bytes:
    """A request as bytes. A path of type str is quoted; bytes go as they are."""
    target = path if isinstance(path, bytes) else quote(path, safe="/?&=%,!()~+:").encode()
    lines = [b"%b %b HTTP/1.1" % (method.encode(), target), b"Host: localhost"]
    if token:
        lines.append(b"Authorization: Bearer " + (token if isinstance(token, bytes) else token.encode()))
    lines += [_bytes(k) + b": " + _bytes(v) for k, v in headers]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1", "replace")
