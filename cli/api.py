"""The command line's client: JSON over HTTPS to the API server of a kubeconfig, and WebSockets for streams.

Errors: what the server refuses comes as ``ApiError``; what does not answer at all as ``ApiUnreachable``.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.parse import urlencode, urlsplit

import httpx
import orjson
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from apimachinery.config import ClusterAccess, load_kubeconfig
from apimachinery.errors import ApiError, from_status
from cli.refusal import Refusal

Object = dict[str, Any]
Params = Mapping[str, str]

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io, application/json"


class ApiUnreachable(Refusal):
    """Nothing answers at the server's address, or not as an API server does."""


def default_kubeconfig() -> Path:
    """$KUBECONFIG, else ``.kubeto/admin.conf`` here or in a folder above, else ``~/.kube/config``."""
    if named := os.environ.get("KUBECONFIG"):
        return Path(named.split(os.pathsep)[0])
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (found := folder / ".kubeto" / "admin.conf").exists():
            return found
    return Path.home() / ".kube" / "config"


class Api:
    """Synchronous access to one cluster. ``namespace`` is the kubeconfig context's."""

    def __init__(self, access: ClusterAccess) -> None:
        self.server, self.namespace = access.server, access.namespace or "default"
        self._tls = access.tls()
        self._headers = {"Authorization": f"Bearer {access.token}"} if access.token else {}
        self._http = httpx.Client(
            base_url=access.server, verify=self._tls, headers=self._headers, timeout=_TIMEOUT, trust_env=False
        )

    @classmethod
    def from_kubeconfig(cls, path: Path | str, context: str = "") -> Self:
        return cls(load_kubeconfig(str(path), context))

    def close(self) -> None:
        self._http.close()

    def raw(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request as it is; the answer may be an error."""
        try:
            return self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ApiUnreachable(f"the server {self.server} does not answer: {error}") from error

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Any = None,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> Object:
        """A request and its JSON answer. Raises ApiError for what the server refuses."""
        headers = {"Accept": accept} | ({"Content-Type": content_type} if body is not None else {})
        content = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        answer = self.raw(method, path, params=params, content=content, headers=headers)
        self._warn(answer)
        return self._decode(answer.status_code, answer.content)

    def _decode(self, code: int, content: bytes) -> Object:
        try:
            document: Object = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise ApiUnreachable(f"{self.server} answered {code} without JSON: {content[:200]!r}") from error
        if code >= 400:
            raise from_status(document)
        return document

    @staticmethod
    def _warn(answer: httpx.Response) -> None:
        for warning in answer.headers.get_list("warning"):
            print("Warning: " + warning.split(" ", 2)[-1].strip(chr(34)), file=sys.stderr)

    def get(self, path: str, params: Params | None = None, accept: str = "application/json") -> Object:
        return self.request("GET", path, params=params, accept=accept)

    def get_list(self, path: str, params: Params | None = None) -> list[Object]:
        items: list[Object] = self.get(path, params)["items"]
        return items

    def watch(self, path: str, params: Params, accept: str = "application/json") -> Iterator[Object]:
        """The events of a watch, until the server ends it."""
        query = {**params, "watch": "1"}
        for line in self.stream(path, query, accept):
            if line.strip():
                event: Object = orjson.loads(line)
                if event["type"] == "ERROR":
                    raise from_status(event["object"])
                yield event

    def stream(self, path: str, params: Params, accept: str = "*/*") -> Iterator[bytes]:
        """The lines of an answer without end. Each keeps its newline."""
        timeout = httpx.Timeout(None, connect=5.0)
        try:
            with self._http.stream("GET", path, params=params, headers={"Accept": accept}, timeout=timeout) as answer:
                if answer.status_code >= 400:
                    self._decode(answer.status_code, answer.read())
                yield from _lines(answer.iter_raw())
        except httpx.HTTPError as error:
            raise ApiUnreachable(f"the stream from {self.server} broke: {error}") from error

    def websocket(self, path: str, params: list[tuple[str, str]], protocols: list[str]) -> ClientConnection:
        """A WebSocket for exec or attach. Raises ApiError where the server refuses."""
        url, options = self.websocket_options(path)
        try:
            socket: ClientConnection = connect(
                f"{url}?{urlencode(params)}", subprotocols=[Subprotocol(p) for p in protocols], **options
            )
        except InvalidStatus as error:
            self.refused(error)
            raise
        except OSError as error:
            raise ApiUnreachable(f"the server {self.server} does not answer: {error}") from error
        return socket

    def websocket_options(self, path: str) -> tuple[str, dict[str, Any]]:
        """The URL of a WebSocket at a path, and what to connect with."""
        url = f"wss://{urlsplit(self.server).netloc}{path}"
        return url, {"ssl": self._tls, "additional_headers": self._headers, "max_size": None, "proxy": None}

    def refused(self, error: InvalidStatus) -> NoReturn:
        """Raise what the server said instead of opening a WebSocket."""
        self._decode(error.response.status_code, bytes(error.response.body or b""))
        raise ApiUnreachable(f"{self.server} did not open a WebSocket: {error}") from error


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest


__all__ = ["APPLY_PATCH", "MERGE_PATCH", "TABLE", "Api", "ApiError", "ApiUnreachable", "Object", "default_kubeconfig"]
