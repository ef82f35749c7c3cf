"""Service-account tokens for pods: asked for by TokenRequest, bound to the pod, renewed in time.

A token is renewed when 80 % of its life is over, or after a day. While the API server is away, an old token that is
still valid is used. Source: kubelet ``token/token_manager.go``; KEP-1205.
"""

import time
from dataclasses import dataclass
from typing import Final

from apimachinery.client.api import ApiClient
from apimachinery.errors import ApiError
from apimachinery.scheme import SERVICE_ACCOUNTS
from node.agent.pod_state import Object, uid_of
from node.agent.times import parse_rfc3339

_LONGEST: Final = 24 * 3600.0
_Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Token:
    """``expires`` and ``renew`` are seconds since 1970."""

    text: str
    expires: float
    renew: float


class TokenManager:
    """The tokens of one node's pods. Times are seconds since 1970."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._tokens: dict[_Key, Token] = {}

    async def token(self, pod: Object, audience: str, expiration_seconds: int) -> str:
        """A valid token. Raises ApiError when there is none and none can be had."""
        key = (uid_of(pod), audience, expiration_seconds)
        known, now = self._tokens.get(key), time.time()
        if known is not None and now < known.renew:
            return known.text
        try:
            self._tokens[key] = await self.request(pod, audience, expiration_seconds)
        except ApiError:
            if known is None or known.expires <= now:
                raise
            return known.text
        return self._tokens[key].text

    def renew_at(self, pod_uid: str) -> float | None:
        """When the first of a pod's tokens has to be renewed."""
        return min((t.renew for (uid, _, _), t in self._tokens.items() if uid == pod_uid), default=None)

    def forget(self, pod_uid: str) -> None:
        for key in [k for k in self._tokens if k[0] == pod_uid]:
            del self._tokens[key]

    async def request(self, pod: Object, audience: str, seconds: int) -> Token:
        """A new token that nobody renews. Raises ApiError."""
        meta, now = pod["metadata"], time.time()
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": uid_of(pod)},
            },
        }
        account = pod["spec"].get("serviceAccountName") or "default"
        reply = await self._client.create(
            SERVICE_ACCOUNTS, request, namespace=meta.get("namespace", ""), name=account, subresource="token"
        )
        status = reply["status"]
        expires = parse_rfc3339(status["expirationTimestamp"])
        return Token(status["token"], expires, now + min((expires - now) * 0.8, _LONGEST))
