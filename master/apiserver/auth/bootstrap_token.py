"""Bootstrap tokens: ``id.secret`` pairs in kube-system secrets, by which a new node makes its first requests.

Source: https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/
"""

import base64
import binascii
import datetime
import hmac
import re
from collections.abc import Callable, Mapping, Sequence

from apimachinery import scheme

from ..registry.reader import Reader
from .authenticator import TokenVerdict, authenticated
from .user import User

SECRET_TYPE = "bootstrap.kubernetes.io/token"  # noqa: S105
GROUP = "system:bootstrappers"
_FORM = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_EXTRA_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


def _utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class BootstrapTokens:
    """Looks a token's secret up on every use: revoking it is deleting the secret."""

    def __init__(self, reader: Reader, now: Callable[[], datetime.datetime] = _utc_now) -> None:
        self._reader, self._now = reader, now

    async def authenticate_token(self, token: str, audiences: Sequence[str] = ()) -> TokenVerdict | None:
        form = _FORM.fullmatch(token)
        if form is None:
            return None
        secret = self._reader.get(scheme.SECRETS, "kube-system", f"bootstrap-token-{form[1]}")
        if secret is None or secret.get("type") != SECRET_TYPE or secret["metadata"].get("deletionTimestamp"):
            return None
        groups = bootstrap_groups(_decoded(secret.get("data") or {}), form[1], form[2], self._now())
        if groups is None:
            return None
        return TokenVerdict(authenticated(User(f"system:bootstrap:{form[1]}", groups=groups)), tuple(audiences))


def bootstrap_groups(
    data: Mapping[str, str], token_id: str, token_secret: str, now: datetime.datetime
) -> tuple[str, ...] | None:
    """The groups that a token's secret gives it, or None if the secret does not vouch for it (any more)."""
    if data.get("token-id") != token_id or not hmac.compare_digest(data.get("token-secret", ""), token_secret):
        return None
    if data.get("usage-bootstrap-authentication") != "true" or _expired(data.get("expiration", ""), now):
        return None
    extra = [g for g in data.get("auth-extra-groups", "").split(",") if g]
    if not all(_EXTRA_GROUP.fullmatch(g) for g in extra):
        return None
    return (GROUP, *extra)


def _expired(expiration: str, now: datetime.datetime) -> bool:
    if not expiration:
        return False
    try:
        return datetime.datetime.fromisoformat(expiration) <= now
    except (ValueError, TypeError):
        return True


def _decoded(data: Mapping[str, str]) -> dict[str, str]:
    try:
        return {k: base64.b64decode(v).decode() for k, v in data.items()}
    except (binascii.Error, UnicodeDecodeError):
        return {}
