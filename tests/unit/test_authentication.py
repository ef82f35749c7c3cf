"""Certificates, token files, service-account and bootstrap tokens, anonymous."""

import base64
import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import NameOID

from apimachinery import pki, scheme
from master.apiserver.auth import service_account
from master.apiserver.auth.authenticator import Authenticators, TokenFile, certificate_user
from master.apiserver.auth.bootstrap_token import BootstrapTokens
from master.apiserver.auth.service_account import BoundObject, ServiceAccountTokens, TokenIssuer
from tests.memory_reader import MemoryReader

ISSUER = "https://kubernetes.default.svc"


class Accounts:
    """An issuer and authenticator over one key and a clock that the test moves."""

    def __init__(self, key_path: Path) -> None:
        self.time = 1_000_000.0
        self.reader = MemoryReader()
        pki.ensure_key(key_path)
        self.issuer = TokenIssuer(ISSUER, service_account.load_signing_key(str(key_path)), lambda: self.time)
        keys = service_account.load_verification_keys([f"{key_path}.pub"])
        self.tokens = ServiceAccountTokens(self.reader, [ISSUER], keys, [ISSUER], lambda: self.time)
        self.account = self.reader.put(scheme.SERVICE_ACCOUNTS, {"metadata": {"namespace": "a", "name": "sa"}})

    async def user(self, token: str) -> Any:
        verdict = await self.tokens.authenticate_token(token)
        return verdict.user if verdict else None


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return Accounts(tmp_path / "sa.key")


async def test_certificate_token_file_and_anonymous(tmp_path: Path) -> None:
    pair = pki.ensure_ca(tmp_path).ensure_client(tmp_path / "c", "jo", ["dev"])
    der = load_pem_x509_certificate(pair.certificate_pem).public_bytes(serialization.Encoding.DER)
    (tmp_path / "tokens.csv").write_text('secret,admin,u1,"system:masters,ops"\nother,bob,u2\n')
    them = Authenticators([TokenFile.load(str(tmp_path / "tokens.csv"))])
    by_certificate = await them.authenticate(der, None)
    assert by_certificate and (by_certificate.name, by_certificate.groups) == ("jo", ("dev", "system:authenticated"))
    by_token = await them.authenticate(None, "Bearer secret")
    assert by_token and (by_token.name, by_token.uid) == ("admin", "u1") and "ops" in by_token.groups
    assert await them.authenticate(None, "Bearer wrong") is None
    assert await them.authenticate(None, "Basic secret") is None
    anonymous = await them.authenticate(None, None)
    assert anonymous and anonymous.name == "system:anonymous"
    assert await Authenticators(anonymous=False).authenticate(None, None) is None


async def test_a_legacy_token_holds_as_long_as_its_secret_holds_it(accounts: Accounts) -> None:
    token = accounts.issuer.issue_legacy(accounts.account, "sa-token")
    assert await accounts.user(token) is None
    data = {"token": base64.b64encode(token.encode()).decode()}
    accounts.reader.put(scheme.SECRETS, {"metadata": {"namespace": "a", "name": "sa-token"}, "data": data})
    assert (await accounts.user(token)).name == "system:serviceaccount:a:sa"
    accounts.reader.put(scheme.SECRETS, {"metadata": {"namespace": "a", "name": "sa-token"}, "data": {}})
    assert await accounts.user(token) is None


def test_a_certificate_can_hold_the_users_uid() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    uid = x509.NameAttribute(x509.ObjectIdentifier("1.3.6.1.4.1.57683.2"), "u-1")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jo"), uid])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    user = certificate_user(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    assert user and (user.name, user.uid) == ("jo", "u-1")


async def test_a_bad_token_file_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("a,b,c\nonly-a-token\n")
    with pytest.raises(ValueError, match="t:2"):
        TokenFile.load(str(tmp_path / "t"))


async def test_a_bound_token_names_pod_and_node_and_ends_with_the_pod(accounts: Accounts) -> None:
    pod = accounts.reader.put(scheme.PODS, {"metadata": {"namespace": "a", "name": "p"}})
    bound = [BoundObject("pod", "p", pod["metadata"]["uid"]), BoundObject("node", "n1", "nu")]
    token, expires = accounts.issuer.issue(accounts.account, [ISSUER], 3600, bound)
    user = await accounts.user(token)
    assert user.name == "system:serviceaccount:a:sa" and expires == accounts.time + 3600
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated")
    assert user.extra[service_account.NODE_NAME] == ("n1",) and user.extra[service_account.POD_NAME] == ("p",)
    assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")
    accounts.reader.remove(scheme.PODS, "a", "p")
    assert await accounts.user(token) is None


async def test_expiry_audience_and_account(accounts: Accounts) -> None:
    token, _ = accounts.issuer.issue(accounts.account, [ISSUER], 600)
    other, _ = accounts.issuer.issue(accounts.account, ["vault"], 600)
    assert await accounts.user(token) and await accounts.user(other) is None
    verdict = await accounts.tokens.authenticate_token(other, ["x", "vault"])
    assert verdict and verdict.audiences == ("vault",)
    accounts.time += 601
    assert await accounts.user(token) is None
    accounts.time -= 601
    accounts.reader.put(scheme.SERVICE_ACCOUNTS, {"metadata": {"namespace": "a", "name": "sa"}})
    assert await accounts.user(token) is None, "the account was made anew: another uid"


async def test_forged_and_foreign_tokens(accounts: Accounts, tmp_path: Path) -> None:
    pki.ensure_key(tmp_path / "other.key")
    foreign = TokenIssuer(ISSUER, service_account.load_signing_key(str(tmp_path / "other.key")), lambda: accounts.time)
    token, _ = foreign.issue(accounts.account, [ISSUER], 600)
    good, _ = accounts.issuer.issue(accounts.account, [ISSUER], 600)
    head, body, signature = good.split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    for bad in (token, f"{head}.{body}x.{signature}", f"{unsigned}.{body}.", "a.b.c", "", "x"):
        assert await accounts.user(bad) is None


def test_rsa_keys_are_published_as_well() -> None:
    key = service_account.VerificationKey.of(rsa.generate_private_key(65537, 2048).public_key())
    assert key.to_jwk().keys() == {"use", "kid", "alg", "kty", "n", "e"} and key.to_jwk()["alg"] == "RS256"


async def test_bootstrap_tokens() -> None:
    reader = MemoryReader()
    data = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}
    data |= {"auth-extra-groups": "system:bootstrappers:worker", "expiration": "2999-01-01T00:00:00Z"}

    async def check(**changes: str) -> Any:
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in (data | changes).items()}
        meta = {"namespace": "kube-system", "name": "bootstrap-token-abcdef"}
        reader.put(scheme.SECRETS, {"metadata": meta, "type": "bootstrap.kubernetes.io/token", "data": encoded})
        return await BootstrapTokens(reader).authenticate_token("abcdef.0123456789abcdef")

    verdict = await check()
    assert verdict.user.name == "system:bootstrap:abcdef"
    assert verdict.user.groups[:2] == ("system:bootstrappers", "system:bootstrappers:worker")
    assert await check(expiration="2001-01-01T00:00:00Z") is None
    assert await check(**{"token-secret": "fedcba9876543210"}) is None
    assert await check(**{"usage-bootstrap-authentication": "false"}) is None
