"""Service-account tokens: signed here, checked here, published as a key set for others to check.

A token is a JWT (RFC 7519) whose private claims name the account and, for a bound token, the pod, secret or node
that it ends with (KEP-1205, KEP-4193). Its signature is verified once and remembered by the token's hash; that the
account and the bound object still exist with the same uid is looked up on every request, from the watch cache.
"""

import base64
import datetime
import hashlib
import hmac
import math
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from apimachinery import scheme
from apimachinery.scheme import Kind

from ..registry.reader import Object, Reader
from .authenticator import CREDENTIAL_ID, TokenVerdict, authenticated
from .user import User

PREFIX = "system:serviceaccount:"
ALL_GROUP = "system:serviceaccounts"
POD_NAME, POD_UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"
NODE_NAME, NODE_UID = "authentication.kubernetes.io/node-name", "authentication.kubernetes.io/node-uid"
PRIVATE_CLAIM = "kubernetes.io"
LEGACY = "kubernetes.io/serviceaccount"
LEGACY_ISSUER = "kubernetes/serviceaccount"
_REMEMBERED = 10_000
_DELETED_LEEWAY_SECONDS = 60.0
_BOUND_KINDS: Mapping[str, Kind] = {"pod": scheme.PODS, "secret": scheme.SECRETS, "node": scheme.NODES}

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key under the id that tokens name it by: the hash of its DER, as upstream derives it."""

    key: PublicKey
    key_id: str
    algorithm: str

    @classmethod
    def of(cls, key: PublicKey) -> "VerificationKey":
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        key_id = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode("ascii")
        return cls(key, key_id, _algorithm(key))

    def to_jwk(self) -> dict[str, Any]:
        """RFC 7517."""
        if isinstance(self.key, rsa.RSAPublicKey):
            members = jwt.algorithms.RSAAlgorithm.to_jwk(self.key, as_dict=True)
        else:
            members = jwt.algorithms.ECAlgorithm.to_jwk(self.key, as_dict=True)
        members.pop("key_ops", None)
        return {"use": "sig", "kid": self.key_id, "alg": self.algorithm, **members}


def _algorithm(key: PublicKey) -> str:
    """Raises ValueError for a curve that JWT has no algorithm for."""
    if isinstance(key, rsa.RSAPublicKey):
        return "RS256"
    by_curve = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
    if key.curve.name not in by_curve:
        raise ValueError(f"service-account keys on curve {key.curve.name} are not supported")
    return by_curve[key.curve.name]


def load_signing_key(path: str) -> PrivateKey:
    """Raises OSError, or ValueError if the file holds no RSA or ECDSA private key."""
    key = serialization.load_pem_private_key(Path(path).read_bytes(), None)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path}: not an RSA or ECDSA private key")
    return key


def load_verification_keys(paths: Iterable[str]) -> list[VerificationKey]:
    """The public halves of PEM files that hold public or private keys. Raises OSError or ValueError."""
    return [VerificationKey.of(_load_public(path)) for path in paths]


def _load_public(path: str) -> PublicKey:
    pem = Path(path).read_bytes()
    if b"PRIVATE KEY" in pem:
        return load_signing_key(path).public_key()
    key = serialization.load_pem_public_key(pem)
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise ValueError(f"{path}: not an RSA or ECDSA public key")
    return key


@dataclass(frozen=True, slots=True)
class BoundObject:
    """What a token ends with: ``kind`` is pod, secret or node."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class TokenIdentity:
    """What a token says about itself, once its signature holds. ``expires`` is seconds since the epoch."""

    namespace: str
    name: str
    uid: str
    audiences: tuple[str, ...]
    expires: float
    token_id: str = ""
    bound: tuple[BoundObject, ...] = ()
    secret: str = ""
    """The Secret that a legacy token lives in: it ends with it, and with the token being taken out of it."""

    @classmethod
    def from_legacy_claims(cls, claims: Mapping[str, Any], audiences: tuple[str, ...]) -> "TokenIdentity":
        """Of a token that the token controller puts into a Secret. Raises KeyError."""
        namespace, name = claims[f"{LEGACY}/namespace"], claims[f"{LEGACY}/service-account.name"]
        if claims["sub"] != f"{PREFIX}{namespace}:{name}":
            raise KeyError("sub")
        uid, secret = claims[f"{LEGACY}/service-account.uid"], claims[f"{LEGACY}/secret.name"]
        return cls(namespace, name, uid, audiences, math.inf, secret=secret)

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> "TokenIdentity":
        """Raises KeyError, TypeError or AttributeError where a claim is missing or of the wrong type."""
        private = claims[PRIVATE_CLAIM]
        account = private["serviceaccount"]
        audiences = claims["aud"]
        if claims["sub"] != f"{PREFIX}{private['namespace']}:{account['name']}":
            raise KeyError("sub")
        return cls(
            namespace=private["namespace"],
            name=account["name"],
            uid=account["uid"],
            audiences=(audiences,) if isinstance(audiences, str) else tuple(audiences),
            expires=float(claims["exp"]),
            token_id=claims.get("jti", ""),
            bound=tuple(BoundObject(k, o["name"], o["uid"]) for k, o in private.items() if k in _BOUND_KINDS),
        )

    def user(self) -> User:
        extra: dict[str, tuple[str, ...]] = {}
        if self.token_id:
            extra[CREDENTIAL_ID] = (f"JTI={self.token_id}",)
        labels = {"pod": (POD_NAME, POD_UID), "node": (NODE_NAME, NODE_UID)}
        for bound in self.bound:
            if bound.kind in labels:
                name, uid = labels[bound.kind]
                extra |= {name: (bound.name,), uid: (bound.uid,)}
        groups = (ALL_GROUP, f"{ALL_GROUP}:{self.namespace}")
        return authenticated(User(f"{PREFIX}{self.namespace}:{self.name}", self.uid, groups, extra))


@dataclass(slots=True)
class TokenIssuer:
    """Signs tokens as ``issuer``. ``now`` gives seconds since the epoch."""

    issuer: str
    key: PrivateKey
    now: Callable[[], float] = time.time
    _verification: VerificationKey = field(init=False)

    def __post_init__(self) -> None:
        self._verification = VerificationKey.of(self.key.public_key())

    @property
    def verification_key(self) -> VerificationKey:
        return self._verification

    def issue(
        self, account: Object, audiences: Sequence[str], seconds: int, bound: Sequence[BoundObject] = ()
    ) -> tuple[str, float]:
        """A token for ``account`` that ends after ``seconds``, and when that is in seconds since the epoch."""
        meta, issued = account["metadata"], int(self.now())
        private: dict[str, Any] = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        private |= {b.kind: {"name": b.name, "uid": b.uid} for b in bound}
        claims = {
            "aud": list(audiences),
            "exp": issued + seconds,
            "iat": issued,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            PRIVATE_CLAIM: private,
            "nbf": issued,
            "sub": f"{PREFIX}{meta['namespace']}:{meta['name']}",
        }
        key = self._verification
        return jwt.encode(claims, self.key, key.algorithm, headers={"kid": key.key_id}), float(issued + seconds)

    def issue_legacy(self, account: Object, secret: str) -> str:
        """A token for a Secret of type kubernetes.io/service-account-token: it does not expire."""
        meta = account["metadata"]
        about = {"namespace": meta["namespace"], "secret.name": secret}
        about |= {"service-account.name": meta["name"], "service-account.uid": meta["uid"]}
        claims = {"iss": LEGACY_ISSUER, "sub": f"{PREFIX}{meta['namespace']}:{meta['name']}"}
        claims |= {f"{LEGACY}/{key}": value for key, value in about.items()}
        key = self._verification
        return jwt.encode(claims, self.key, key.algorithm, headers={"kid": key.key_id})


class ServiceAccountTokens:
    """Authenticates service-account tokens of ``issuers`` signed with one of ``keys``."""

    def __init__(
        self,
        reader: Reader,
        issuers: Sequence[str],
        keys: Sequence[VerificationKey],
        audiences: Sequence[str],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._reader, self._issuers, self._audiences, self._now = reader, frozenset(issuers), tuple(audiences), now
        self._keys = {k.key_id: k for k in keys}
        self._verified: OrderedDict[bytes, tuple[TokenIdentity, User]] = OrderedDict()

    async def authenticate_token(self, token: str, audiences: Sequence[str] = ()) -> TokenVerdict | None:
        known = self._known(token)
        if known is None or known[0].expires <= self._now():
            return None
        identity, user = known
        matching = tuple(a for a in (audiences or self._audiences) if a in identity.audiences)
        if not matching or not await self._alive(identity):
            return None
        if identity.secret and not self._is_in_secret(identity, token):
            return None
        return TokenVerdict(user, matching)

    def _is_in_secret(self, identity: TokenIdentity, token: str) -> bool:
        secret = self._reader.get(scheme.SECRETS, identity.namespace, identity.secret) or {}
        held: str = (secret.get("data") or {}).get("token", "")
        return hmac.compare_digest(base64.b64encode(token.encode()), held.encode())

    def _known(self, token: str) -> tuple[TokenIdentity, User] | None:
        """Only what holds is remembered: a thousand forged ones would drive out those in use."""
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is None and (identity := self._verify(token)):
            if len(self._verified) >= _REMEMBERED:
                self._verified.popitem(last=False)
            known = self._verified[digest] = (identity, identity.user())
        return known

    def _verify(self, token: str) -> TokenIdentity | None:
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            # exp and aud are checked on every use, not once: the verdict on the signature is what is remembered.
            claims = jwt.decode(
                token, key.key, algorithms=[key.algorithm], options={"verify_aud": False, "verify_exp": False}
            )
            if claims.get("iss") == LEGACY_ISSUER:
                return TokenIdentity.from_legacy_claims(claims, self._audiences)
            return TokenIdentity.from_claims(claims) if claims.get("iss") in self._issuers else None
        except (jwt.InvalidTokenError, KeyError, TypeError, AttributeError, ValueError):
            return None

    async def _alive(self, identity: TokenIdentity) -> bool:
        """Whether the account and everything the token is bound to exist, uids unchanged, not long deleted."""
        if not await self._exists(scheme.SERVICE_ACCOUNTS, identity.namespace, identity.name, identity.uid):
            return False
        for bound in identity.bound:
            # A pod token also names its node, for information: the node may go first.
            if bound.kind == "node" and len(identity.bound) > 1:
                continue
            namespace = "" if bound.kind == "node" else identity.namespace
            if not await self._exists(_BOUND_KINDS[bound.kind], namespace, bound.name, bound.uid):
                return False
        return True

    async def _exists(self, kind: Kind, namespace: str, name: str, uid: str) -> bool:
        # The cache may lag behind by milliseconds: a refusal needs the truth, an approval does not.
        found = self._reader.get(kind, namespace, name)
        if found is None or found["metadata"].get("uid") != uid:
            found = await self._reader.get_consistent(kind, namespace, name)
        if found is None or found["metadata"].get("uid") != uid:
            return False
        return not _deleted_long_ago(found["metadata"], self._now())


def _deleted_long_ago(meta: Mapping[str, Any], now: float) -> bool:
    """Past the end of its grace period, which deletionTimestamp already includes, by more than the leeway."""
    stamp: str = meta.get("deletionTimestamp") or ""
    return bool(stamp) and datetime.datetime.fromisoformat(stamp).timestamp() + _DELETED_LEEWAY_SECONDS < now
