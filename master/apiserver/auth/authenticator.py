"""Who is this? The authenticators of the API server and their order.

A request is whoever its client certificate says (TLS has verified it), else whoever its bearer token says. With
neither it is anonymous, and may what RBAC lets everybody. Wrong credentials are never anonymous.
"""

import csv
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from apimachinery import pki

from .user import ANONYMOUS_NAME, AUTHENTICATED_GROUP, UNAUTHENTICATED_GROUP, User

ANONYMOUS = User(ANONYMOUS_NAME, groups=(UNAUTHENTICATED_GROUP,))
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
_REMEMBERED_CERTIFICATES = 4096
_UID = x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")
"""Of a subject, the user's uid (KEP-4828)."""


class TokenAuthenticator(Protocol):
    """Knows one sort of bearer token. None means: not mine, or not valid."""

    async def authenticate_token(self, token: str, audiences: Sequence[str] = ()) -> "TokenVerdict | None": ...


class TokenVerdict:
    """A valid token's user and those of the asked audiences that the token is for."""

    __slots__ = ("audiences", "user")

    def __init__(self, user: User, audiences: tuple[str, ...] = ()) -> None:
        self.user, self.audiences = user, audiences


class Authenticators:
    """All ways to authenticate, in order: certificate, then tokens, then anonymous."""

    def __init__(self, tokens: Sequence[TokenAuthenticator] = (), *, anonymous: bool = True) -> None:
        self._tokens = tuple(tokens)
        self._anonymous = anonymous
        self._certificates: OrderedDict[bytes, User | None] = OrderedDict()

    async def authenticate(self, certificate_der: bytes | None, authorization: str | None) -> User | None:
        """The user behind a request, or None: answer 401. ``authorization`` is the header's value.

        Asked for every request: what is costly is remembered below, never whether a token still holds.
        """
        if certificate_der is not None and (user := self._by_certificate(certificate_der)) is not None:
            return user
        if authorization:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer":
                return None
            verdict = await self.review_token(token.strip())
            return verdict.user if verdict else None
        return ANONYMOUS if self._anonymous else None

    async def review_token(self, token: str, audiences: Sequence[str] = ()) -> TokenVerdict | None:
        """The verdict on a bearer token for ``audiences`` (none given: the API server's own)."""
        if token:
            for authenticator in self._tokens:
                if (verdict := await authenticator.authenticate_token(token, audiences)) is not None:
                    return verdict
        return None

    def _by_certificate(self, der: bytes) -> User | None:
        # Parsing takes 50 microseconds, and a connection's certificate comes with every request.
        if der in self._certificates:
            return self._certificates[der]
        if len(self._certificates) >= _REMEMBERED_CERTIFICATES:
            self._certificates.popitem(last=False)
        user = self._certificates[der] = certificate_user(der)
        return user


def certificate_user(der: bytes) -> User | None:
    """CN is the name, every O a group, Kubernetes' own attribute the uid. None for a certificate without a CN."""
    name, groups = pki.identity(der)
    if not name:
        return None
    certificate = x509.load_der_x509_certificate(der)
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    uids = certificate.subject.get_attributes_for_oid(_UID)
    uid = str(uids[0].value) if uids else ""
    return authenticated(User(name, uid, groups, {CREDENTIAL_ID: (f"X509SHA256={fingerprint}",)}))


def authenticated(user: User) -> User:
    """The same user, in system:authenticated as well."""
    if AUTHENTICATED_GROUP in user.groups:
        return user
    return User(user.name, user.uid, (*user.groups, AUTHENTICATED_GROUP), user.extra)


class TokenFile:
    """``--token-auth-file``: lines of token,user,uid,"group1,group2". Read once, at start, as upstream."""

    def __init__(self, users: dict[bytes, User]) -> None:
        self._users = users

    @classmethod
    def load(cls, path: str) -> "TokenFile":
        """Raises OSError, or ValueError for a line with fewer than three columns or an empty token."""
        users: dict[bytes, User] = {}
        with Path(path).open(newline="") as file:
            for number, row in enumerate(csv.reader(file, skipinitialspace=True), start=1):
                if not row or row[0].startswith("#"):
                    continue
                if len(row) < 3 or not row[0] or not row[1]:
                    raise ValueError(f"{path}:{number}: expected token,user,uid[,groups]")
                groups = tuple(g.strip() for g in row[3].split(",") if g.strip()) if len(row) > 3 else ()
                users[_digest(row[0])] = authenticated(User(row[1], row[2], groups))
        return cls(users)

    async def authenticate_token(self, token: str, audiences: Sequence[str] = ()) -> TokenVerdict | None:
        # Comparing digests tells nobody by its timing how much of a guess was right.
        user = self._users.get(_digest(token))
        return TokenVerdict(user, tuple(audiences)) if user else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
