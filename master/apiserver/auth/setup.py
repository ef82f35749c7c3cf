"""Puts authentication and authorization together from the API server's flags."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apimachinery.flags import flag

from ..registry.answers import Answers
from ..registry.reader import Reader
from . import openid
from .authenticator import Authenticators, TokenAuthenticator, TokenFile
from .authorizer import Authorizer
from .authorizers import for_modes
from .bootstrap_token import BootstrapTokens
from .rbac import RbacAuthorizer
from .reviews import Reviews
from .service_account import (
    ServiceAccountTokens,
    TokenIssuer,
    VerificationKey,
    load_signing_key,
    load_verification_keys,
)
from .token_request import TokenRequests

DEFAULT_ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """Each field is the flag of its name, as upstream's; paths are "" where a flag is not given.

    ``issuers``: the first signs, all are accepted. ``audiences``: empty means the issuers.
    """

    authorization_modes: tuple[str, ...] = flag(("Node", "RBAC"), "who decides, in turn", name="authorization-mode")
    token_auth_file: str = flag("", 'CSV: token,user,uid,"group1,group2"')
    service_account_key_files: tuple[str, ...] = flag(
        (), "key that verifies tokens; repeatable", name="service-account-key-file", repeated=True
    )
    service_account_signing_key_file: str = flag("", "key that signs tokens (default: one for this run)")
    service_account_issuers: tuple[str, ...] = flag(
        (DEFAULT_ISSUER,), "who signs tokens; repeatable", name="service-account-issuer", repeated=True
    )
    service_account_jwks_uri: str = flag("", "where the issuer's keys are, if not here")
    api_audiences: tuple[str, ...] = flag((), "audiences of tokens (default: the issuers)")
    anonymous_auth: bool = flag(True, "who shows no credentials is system:anonymous")
    enable_bootstrap_token_auth: bool = flag(True, "accept bootstrap tokens")


@dataclass(frozen=True, slots=True)
class Auth:
    """What the request path needs. ``documents``: path of a public JSON document -> media type and content."""

    authenticators: Authenticators
    authorizer: Authorizer
    rbac: RbacAuthorizer
    issuer: TokenIssuer
    answers: Answers
    documents: Mapping[str, tuple[str, dict[str, Any]]]


def build(config: AuthConfig, reader: Reader) -> Auth:
    """Raises OSError for a file that cannot be read, ValueError for one that does not hold what its flag says."""
    audiences = config.api_audiences or config.service_account_issuers
    issuer = TokenIssuer(config.service_account_issuers[0], load_signing_key(config.service_account_signing_key_file))
    keys = _keys(config, issuer)
    tokens: list[TokenAuthenticator] = [TokenFile.load(config.token_auth_file)] if config.token_auth_file else []
    tokens.append(ServiceAccountTokens(reader, config.service_account_issuers, keys, audiences))
    if config.enable_bootstrap_token_auth:
        tokens.append(BootstrapTokens(reader))
    # Who lets everybody do everything does not let in just anybody: as upstream.
    anonymous = config.anonymous_auth and "AlwaysAllow" not in config.authorization_modes
    authenticators = Authenticators(tokens, anonymous=anonymous)
    rbac = RbacAuthorizer(reader)
    authorizer = for_modes(config.authorization_modes, reader, rbac)
    answers = dict(Reviews(authenticators, authorizer, rbac).answers())
    answers["", "serviceaccounts", "token"] = TokenRequests(reader, issuer, audiences)
    return Auth(authenticators, authorizer, rbac, issuer, answers, _documents(config, keys))


def _keys(config: AuthConfig, issuer: TokenIssuer) -> list[VerificationKey]:
    """The signing key's public half first; each key once."""
    given = load_verification_keys(config.service_account_key_files)
    return list({key.key_id: key for key in (issuer.verification_key, *given)}.values())


def _documents(config: AuthConfig, keys: list[VerificationKey]) -> dict[str, tuple[str, dict[str, Any]]]:
    document = openid.configuration(config.service_account_issuers[0], keys, config.service_account_jwks_uri)
    return {
        openid.CONFIGURATION_PATH: ("application/json", document),
        openid.JWKS_PATH: (openid.JWKS_MEDIA_TYPE, openid.jwks(keys)),
    }
