"""Certificates and keys of a cluster: one authority, server and client certificates, signing keys.

Every ``ensure_*`` is safe to repeat: what exists is kept as long as it still fits (same subject and names,
signed by this authority, key belongs to it, far enough from its end) and made anew otherwise. A file appears
whole or not at all, and a private key is never readable by others. All keys are EC P-256: making one takes
well under a millisecond.

What it cannot see: two processes that ensure the same path at once. The one that starts the cluster calls it.
"""

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import whole_file

CA_LIFETIME = datetime.timedelta(days=3650)
LIFETIME = datetime.timedelta(days=365)
RENEW_BEFORE = datetime.timedelta(days=30)
# Tolerates the clock of another machine being a little behind.
BACKDATE = datetime.timedelta(minutes=5)

StrPath = str | os.PathLike[str]
_Listing = TypeVar("_Listing", x509.SubjectAlternativeName, x509.ExtendedKeyUsage)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key: where they lie, and their PEM."""

    certificate_path: Path
    key_path: Path
    certificate_pem: bytes
    key_pem: bytes


@dataclass(frozen=True, slots=True)
class Profile:
    """What a certificate says. ``groups`` become organizations (O); ``dns`` and ``ips`` the alternative names."""

    common_name: str
    groups: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    server: bool = False
    client: bool = False

    def subject(self) -> x509.Name:
        groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in self.groups]
        return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, self.common_name)])

    def alternative_names(self) -> list[x509.GeneralName]:
        names: list[x509.GeneralName] = [x509.DNSName(d) for d in dict.fromkeys(self.dns)]
        return names + [x509.IPAddress(ipaddress.ip_address(ip)) for ip in dict.fromkeys(self.ips)]

    def usages(self) -> list[x509.ObjectIdentifier]:
        server = [ExtendedKeyUsageOID.SERVER_AUTH] if self.server else []
        return server + ([ExtendedKeyUsageOID.CLIENT_AUTH] if self.client else [])


class CertificateAuthority:
    """Signs certificates. ``ensure_*`` take a path without suffix and write ``PATH.crt`` and ``PATH.key``."""

    def __init__(self, pair: KeyPair) -> None:
        self.pair = pair
        self._certificate = x509.load_pem_x509_certificate(pair.certificate_pem)
        self._key = _load_ec_key(pair.key_pem)

    @property
    def pem(self) -> bytes:
        return self.pair.certificate_pem

    @property
    def path(self) -> Path:
        return self.pair.certificate_path

    def ensure_server(
        self,
        path: StrPath,
        common_name: str,
        *,
        dns: Sequence[str] = (),
        ips: Sequence[str] = (),
        groups: Sequence[str] = (),
        client: bool = False,
    ) -> KeyPair:
        """A serving certificate. ``client=True`` lets it be shown to servers as well, as a node's is."""
        return self.ensure(path, Profile(common_name, tuple(groups), tuple(dns), tuple(ips), True, client))

    def ensure_client(self, path: StrPath, name: str, groups: Sequence[str] = ()) -> KeyPair:
        """A certificate by which its holder is the user ``name`` in ``groups``."""
        return self.ensure(path, Profile(name, tuple(groups), client=True))

    def ensure(self, path: StrPath, profile: Profile) -> KeyPair:
        certificate_path, key_path = _paths(path)
        kept = _read_pair(certificate_path, key_path)
        if kept is not None and self._fits(kept, profile):
            return kept
        key = ec.generate_private_key(ec.SECP256R1())
        return _write_pair(certificate_path, key_path, self.sign(profile, key.public_key()), key)

    def sign(
        self, profile: Profile, public_key: CertificatePublicKeyTypes, lifetime: datetime.timedelta = LIFETIME
    ) -> x509.Certificate:
        """A certificate over ``public_key`` that begins a little in the past and ends after ``lifetime``."""
        builder = _builder(profile.subject(), self._certificate.subject, public_key, lifetime)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(ca=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(profile.usages()), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        if names := profile.alternative_names():
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _fits(self, pair: KeyPair, profile: Profile) -> bool:
        certificate = _load_certificate(pair.certificate_pem)
        if certificate is None or not _belongs(certificate, pair.key_pem) or _ends_soon(certificate):
            return False
        try:
            certificate.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return (
            certificate.subject == profile.subject()
            and _values(certificate, x509.SubjectAlternativeName) == set(profile.alternative_names())
            and _values(certificate, x509.ExtendedKeyUsage) == set(profile.usages())
        )


def ensure_ca(directory: StrPath, name: str = "ca", common_name: str = "kubeto") -> CertificateAuthority:
    """The authority in ``directory/name.crt`` and ``directory/name.key``, made if it is not there.

    An authority that exists is kept even near its end: replacing it invalidates every certificate of the
    cluster, which is the operator's decision. Raises ValueError if the files exist and do not hold a key pair.
    """
    certificate_path, key_path = _paths(Path(directory) / name)
    if certificate_path.exists() and key_path.exists():
        return load_ca(certificate_path, key_path)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = Profile(common_name).subject()
    builder = _builder(subject, subject, key.public_key(), CA_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(ca=True), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    return CertificateAuthority(_write_pair(certificate_path, key_path, certificate, key))


def load_ca(certificate_path: Path, key_path: Path) -> CertificateAuthority:
    """The authority in two files. Raises OSError, and ValueError if they do not hold a key pair."""
    pair = KeyPair(certificate_path, key_path, certificate_path.read_bytes(), key_path.read_bytes())
    certificate = _load_certificate(pair.certificate_pem)
    if certificate is None or not _belongs(certificate, pair.key_pem):
        raise ValueError(f"{certificate_path} and {key_path} are not a certificate and its key: remove both")
    return CertificateAuthority(pair)


def ensure_key(path: StrPath) -> bytes:
    """The PEM of the signing key in ``path`` (service-account tokens), made if it is not there.

    Its public half is written to ``PATH.pub``. Raises ValueError if the file does not hold a private key.
    """
    path = Path(path)
    if path.exists():
        pem = path.read_bytes()
        key: PrivateKeyTypes = serialization.load_pem_private_key(pem, None)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = _key_pem(key)
        whole_file.replace(path, pem, 0o600)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    public_path = path.with_name(path.name + ".pub")
    if not public_path.exists() or public_path.read_bytes() != public:
        whole_file.replace(public_path, public, 0o644)
    return pem


def identity(certificate_der: bytes) -> tuple[str, tuple[str, ...]]:
    """The user name (CN) and groups (O) of a certificate that TLS has verified. The name is "" if it has none."""
    subject = x509.load_der_x509_certificate(certificate_der).subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return (str(names[0].value) if names else "", tuple(str(g.value) for g in groups))


def _paths(stem: StrPath) -> tuple[Path, Path]:
    stem = Path(stem)
    return stem.with_name(stem.name + ".crt"), stem.with_name(stem.name + ".key")


def _read_pair(certificate_path: Path, key_path: Path) -> KeyPair | None:
    if not certificate_path.exists() or not key_path.exists():
        return None
    return KeyPair(certificate_path, key_path, certificate_path.read_bytes(), key_path.read_bytes())


def _write_pair(
    certificate_path: Path, key_path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> KeyPair:
    pair = KeyPair(certificate_path, key_path, certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))
    whole_file.replace(key_path, pair.key_pem, 0o600)
    whole_file.replace(certificate_path, pair.certificate_pem, 0o644)
    return pair


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: CertificatePublicKeyTypes, lifetime: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder(issuer_name=issuer, subject_name=subject, public_key=public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _load_certificate(pem: bytes) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        return None


def _load_ec_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not an EC key")
    return key


def _belongs(certificate: x509.Certificate, key_pem: bytes) -> bool:
    try:
        return serialization.load_pem_private_key(key_pem, None).public_key() == certificate.public_key()
    except ValueError:
        return False


def _ends_soon(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC) < RENEW_BEFORE


def _values(certificate: x509.Certificate, kind: type[_Listing]) -> set[object]:
    """What an extension that is a list holds; nothing if the certificate lacks it."""
    try:
        return set(certificate.extensions.get_extension_for_class(kind).value)
    except x509.ExtensionNotFound:
        return set()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
