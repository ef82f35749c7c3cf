"""A front proxy that has authenticated a user, and says in headers who it is.

It is believed if its client certificate is signed by ``--requestheader-client-ca-file``, and has one of the allowed
names. A certificate of that CA says nothing else: it is no user's.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from apimachinery import pki
from apimachinery.flags import flag

from .user import AUTHENTICATED_GROUP, User

_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class RequestHeaderConfig:
    """Upstream's ``--requestheader-*`` flags; ``client_ca_file`` "" means that there is no front proxy."""

    client_ca_file: str = flag("", "CA of front proxies, who name users in headers")
    allowed_names: tuple[str, ...] = flag((), "their names (default: any)")
    username_headers: tuple[str, ...] = flag(("X-Remote-User",), "where they name the user")
    uid_headers: tuple[str, ...] = flag(("X-Remote-Uid",), "and its uid")
    group_headers: tuple[str, ...] = flag(("X-Remote-Group",), "and its groups")
    extra_headers_prefix: tuple[str, ...] = flag(("X-Remote-Extra-",), "and all else")


@dataclass
class FrontProxies:
    """``authorities`` sign front proxies, ``clients`` sign users."""

    config: RequestHeaderConfig
    authorities: Sequence[x509.Certificate] = ()
    clients: Sequence[x509.Certificate] = ()
    _known: dict[bytes, tuple[bool, bool]] = field(default_factory=dict)

    @classmethod
    def load(cls, config: RequestHeaderConfig, client_ca_file: str) -> "FrontProxies":
        """Raises OSError, ValueError."""
        if not config.client_ca_file:
            return cls(config)
        return cls(config, _certificates(config.client_ca_file), _certificates(client_ca_file))

    def look(
        self, certificate_der: bytes | None, headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[User | None, bytes | None]:
        """The user that a front proxy names, if one does; and the certificate, if it may be a user's own."""
        if certificate_der is None or not self.authorities:
            return None, certificate_der
        proxy, client = self._signers(certificate_der)
        user = self._named(headers) if proxy and self._is_allowed(certificate_der) else None
        return user, certificate_der if client else None

    def _named(self, headers: Iterable[tuple[bytes, bytes]]) -> User | None:
        pairs = [(name, value.decode("utf-8", "replace")) for name, value in headers]
        name = next(iter(_values(pairs, self.config.username_headers)), "")
        if not name:
            return None
        uid = next(iter(_values(pairs, self.config.uid_headers)), "")
        groups = tuple(_values(pairs, self.config.group_headers))
        if AUTHENTICATED_GROUP not in groups:
            groups = (*groups, AUTHENTICATED_GROUP)
        return User(name, uid, groups, _extra(pairs, self.config.extra_headers_prefix))

    def _is_allowed(self, der: bytes) -> bool:
        return not self.config.allowed_names or pki.identity(der)[0] in self.config.allowed_names

    def _signers(self, der: bytes) -> tuple[bool, bool]:
        """Whether a front-proxy authority, and whether a client authority has signed it."""
        found = self._known.get(der)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            certificate = x509.load_der_x509_certificate(der)
            found = _signed(certificate, self.authorities), _signed(certificate, self.clients)
            self._known[der] = found
        return found


def _certificates(path: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(Path(path).read_bytes()) if path else []


def _signed(certificate: x509.Certificate, authorities: Iterable[x509.Certificate]) -> bool:
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def _values(pairs: Iterable[tuple[bytes, str]], headers: Iterable[str]) -> list[str]:
    wanted = {h.lower().encode() for h in headers}
    return [value for name, value in pairs if name in wanted and value]


def _extra(pairs: Iterable[tuple[bytes, str]], prefixes: Iterable[str]) -> dict[str, tuple[str, ...]]:
    extra: dict[str, tuple[str, ...]] = {}
    starts = [p.lower().encode() for p in prefixes]
    for name, value in pairs:
        for start in starts:
            if name.startswith(start) and len(name) > len(start):
                key = unquote(name[len(start) :].decode("latin-1")).lower()
                extra[key] = (*extra.get(key, ()), value)
    return extra
