"""One-time URLs of the streaming server: what Exec, Attach and PortForward answer."""

import secrets
import time

from node.cri_docker.cache import Cache
from node.cri_docker.refusal import Refused, Unavailable, WrongState
from protos.cri.runtime.v1 import api_pb2 as cri

StreamRequest = cri.ExecRequest | cri.AttachRequest | cri.PortForwardRequest
_TOKEN_SECONDS = 60.0
_TOKENS_AT_ONCE = 1000


class StreamingUrls:
    """Tokens are 128 random bits, good once and for a minute (as containerd's)."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self.base_url = ""
        """Where the server listens, once it does."""
        self._waiting: dict[str, tuple[float, StreamRequest]] = {}

    def exec(self, request: cri.ExecRequest) -> str:
        self._check_running(request.container_id)
        _check_streams(request)
        return self._url("exec", request)

    def attach(self, request: cri.AttachRequest) -> str:
        self._check_running(request.container_id)
        _check_streams(request)
        return self._url("attach", request)

    def port_forward(self, request: cri.PortForwardRequest) -> str:
        if not self._cache.sandbox(request.pod_sandbox_id).ready:
            raise WrongState(f"sandbox {request.pod_sandbox_id} is not ready")
        return self._url("portforward", request)

    def take(self, token: str) -> StreamRequest | None:
        """The request behind a token, once; None for a token unknown, used or too old."""
        born, request = self._waiting.pop(token, (0.0, None))
        return request if time.monotonic() - born <= _TOKEN_SECONDS else None

    def _url(self, verb: str, request: StreamRequest) -> str:
        now = time.monotonic()
        self._waiting = {t: w for t, w in self._waiting.items() if now - w[0] <= _TOKEN_SECONDS}
        if len(self._waiting) >= _TOKENS_AT_ONCE:
            raise Unavailable("too many streams asked for and not opened")
        token = secrets.token_urlsafe(16)
        self._waiting[token] = (now, request)
        return f"{self.base_url}/{verb}/{token}"

    def _check_running(self, identity: str) -> None:
        record = self._cache.container(identity)
        if not record.running:
            raise WrongState(f"container {record.id} is not running")


def _check_streams(request: cri.ExecRequest | cri.AttachRequest) -> None:
    if request.tty and request.stderr:
        raise Refused("tty and stderr cannot both be asked for: a terminal has one output")
    if not (request.stdin or request.stdout or request.stderr):
        raise Refused("one of stdin, stdout and stderr must be asked for")
