"""Service-account issuer discovery: what lets others check our tokens (OpenID Connect Discovery 1.0)."""

from collections.abc import Sequence
from typing import Any

from .service_account import VerificationKey

CONFIGURATION_PATH = "/.well-known/openid-configuration"
JWKS_PATH = "/openid/v1/jwks"
JWKS_MEDIA_TYPE = "application/jwk-set+json"


def configuration(issuer: str, keys: Sequence[VerificationKey], jwks_uri: str = "") -> dict[str, Any]:
    """``jwks_uri`` is ``--service-account-jwks-uri``; without it the key set lies under the issuer."""
    return {
        "issuer": issuer,
        "jwks_uri": jwks_uri or issuer.rstrip("/") + JWKS_PATH,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted({key.algorithm for key in keys}),
    }


def jwks(keys: Sequence[VerificationKey]) -> dict[str, Any]:
    """RFC 7517."""
    return {"keys": [key.to_jwk() for key in keys]}
