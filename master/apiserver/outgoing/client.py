"""Webhooks: an object is posted, an object comes back.

A ``clientConfig`` is upstream's: a ``url``, or a ``service`` (namespace, name, path, port), and ``caBundle``, which is
base64 of PEM. A Service is called ``https://name.namespace.svc:port``, which its certificate must be for, whatever
endpoint the connection leads to. Connections are kept.

Source: ``k8s.io/apiserver/pkg/util/webhook/client.go``.
"""

import asyncio
import base64
import binascii
import math
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from apimachinery import errors
from apimachinery.errors import ApiError

from . import services

if TYPE_CHECKING:
    import httpcore

    from .http import Pools
    from .trust import Connect

Object = dict[str, Any]
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_HEADERS = [
    (b"Content-Type", b"application/json"),
    (b"Accept", b"application/json, */*"),
    (b"User-Agent", b"kube-apiserver-admission"),
]


class CallFailed(Exception):
    """No usable answer came. ``status`` is what the webhook answered in its place, if it answered anything."""

    def __init__(self, message: str, status: ApiError | None = None) -> None:
        super().__init__(message)
        self.message, self.status = message, status


class WebhookClient:
    """``connect`` opens connections. Its HTTP library is imported for the first call: a cluster without webhooks has
    no need of it."""

    def __init__(self, connect: "Connect") -> None:
        self._connect = connect
        self._pools: Pools | None = None

    async def call(self, config: Object, body: Object, seconds: float) -> Object:
        """What the webhook of a ``clientConfig`` answers to ``body`` within ``seconds``, which it is told as the query
        parameter ``timeout``. Raises CallFailed."""
        url = url_of(config)
        url = f"{url}{'&' if '?' in url else '?'}timeout={math.ceil(seconds)}s"
        data = orjson.dumps(body)
        try:
            async with asyncio.timeout(seconds):
                status, answer = await self._post(url, _ca(config), data)
        except TimeoutError as error:
            raise CallFailed(f'Post "{url}": context deadline exceeded') from error
        if not 200 <= status <= 206:
            refusal = _refusal(status, answer)
            raise CallFailed(refusal.message, refusal)
        return _decode(answer)

    async def close(self) -> None:
        if self._pools is not None:
            await self._pools.close()

    async def _post(self, url: str, ca: str, data: bytes) -> tuple[int, bytes]:
        import httpcore

        from . import http
        from .trust import Trust

        if self._pools is None:
            self._pools = http.Pools(self._connect)
        try:
            pool = self._pools.get(Trust(ca))
            try:
                return await _exchange(pool, url, data)
            except http.CUT_OFF:
                # Most likely a kept connection that the other end was just closing: a new one will tell.
                return await _exchange(pool, url, data)
        except httpcore.TimeoutException as error:
            raise CallFailed(f'Post "{url}": context deadline exceeded') from error
        except (*http.BROKEN, httpcore.UnsupportedProtocol, OSError) as error:
            raise CallFailed(f'Post "{url}": {error or type(error).__name__}') from error


async def _exchange(pool: "httpcore.AsyncConnectionPool", url: str, data: bytes) -> tuple[int, bytes]:
    async with pool.stream("POST", url, headers=_HEADERS, content=data) as response:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.aiter_stream():
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise CallFailed(f'Post "{url}": the answer is larger than {MAX_ANSWER_BYTES} bytes')
            chunks.append(chunk)
        return response.status, b"".join(chunks)


def url_of(config: Object) -> str:
    """Raises CallFailed."""
    service = config.get("service")
    if service is not None:
        path = str(service.get("path") or "").lstrip("/")
        host = services.host_name(service.get("namespace", ""), service.get("name", ""))
        return f"https://{host}:{service.get('port') or 443}/{path}"
    url = str(config.get("url") or "")
    if urlsplit(url).scheme != "https":
        raise CallFailed(f"the clientConfig has neither a service nor a URL of https: {url!r}")
    return url


def _ca(config: Object) -> str:
    """PEM. Raises CallFailed."""
    try:
        return base64.b64decode(config.get("caBundle") or "", validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise CallFailed("unable to load root certificates: the caBundle is not PEM in base64") from error


def _decode(answer: bytes) -> Object:
    """Raises CallFailed."""
    try:
        obj = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise CallFailed(f"couldn't get version/kind; json parse error: {error}") from error
    if not isinstance(obj, dict):
        raise CallFailed("couldn't get version/kind; the answer is no JSON object")
    return obj


def _refusal(code: int, answer: bytes) -> ApiError:
    """The error that an answer of another code tells of, in the words of upstream's client."""
    try:
        status = orjson.loads(answer)
    except orjson.JSONDecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status" and status.get("message"):
        return errors.from_status({"code": code} | status)
    if code == 404:
        return errors.NotFound("the server could not find the requested resource")
    text = answer[:512].decode("utf-8", "replace").strip() or "unknown"
    if code >= 500:
        message = f'an error on the server ("{text}") has prevented the request from succeeding'
        return ApiError(message, code=code)
    return ApiError(f"the server rejected our request: {text}", code=code, reason="")
