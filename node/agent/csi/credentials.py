"""What a driver is given to prove itself: secrets that a volume names, and tokens of the pod's account (KEP-2047)."""

import base64
import json

from apimachinery.client.api import ApiClient
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.scheme import SECRETS
from node.agent.times import rfc3339
from node.agent.tokens import TokenManager
from node.agent.volumes.volume import VolumeError

_TOKEN_SECONDS = 3600


class Credentials:
    """Nothing is kept: what is given is of now."""

    def __init__(self, client: ApiClient, tokens: TokenManager) -> None:
        self._client, self._tokens = client, tokens

    async def secret(self, ref: tuple[str, str] | None) -> dict[str, str]:
        """The content of a secret by namespace and name. Raises VolumeError."""
        if ref is None:
            return {}
        try:
            data = (await self._client.get(SECRETS, ref[1], ref[0])).get("data") or {}
        except ApiError as error:
            raise VolumeError(f"fetching secret {ref[0]}/{ref[1]}: {error.message}") from error
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    async def tokens(self, pod: Object, requests: list[Object]) -> dict[str, str]:
        """Tokens for the audiences of ``CSIDriver.spec.tokenRequests``, as drivers read them. Raises ApiError."""
        out: Object = {}
        for request in requests:
            audience, seconds = request.get("audience") or "", int(request.get("expirationSeconds") or _TOKEN_SECONDS)
            token = await self._tokens.request(pod, audience, seconds)
            out[audience] = {"token": token.text, "expirationTimestamp": rfc3339(token.expires)}
        return {"csi.storage.k8s.io/serviceAccount.tokens": json.dumps(out)} if out else {}
