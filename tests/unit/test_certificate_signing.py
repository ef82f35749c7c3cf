"""Approved certificate requests are signed for the signers that are ours, or refused with a reason."""

import base64
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apimachinery import pki
from master.controller_manager.certificate_signing import REQUESTS, judge
from tests.fakes import FakeCluster
from tests.fakes.manager import running, settle
from tests.waiting import until

CONTROLLER = "certificatesigningrequest-signing-controller"
CLIENT, NODE_CLIENT, SERVING = (
    "kubernetes.io/kube-apiserver-client",
    "kubernetes.io/kube-apiserver-client-kubelet",
    "kubernetes.io/kubelet-serving",
)
APPROVED = {"type": "Approved", "status": "True", "reason": "T"}


def encoded(common_name: str, group: str = "g", dns: str = "") -> str:
    subject = [
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, group),
    ]
    builder = x509.CertificateSigningRequestBuilder(x509.Name(subject))
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns)]), critical=False)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def request(name: str, signer: str, *conditions: dict[str, str], **spec: Any) -> dict[str, Any]:
    asked = {"request": encoded("u"), "signerName": signer, "usages": ["client auth"], **spec}
    return {"metadata": {"name": name}, "spec": asked, "status": {"conditions": list(conditions)}}


def ask(cluster: FakeCluster, wanted: dict[str, Any]) -> None:
    made = cluster.create(REQUESTS, wanted)
    cluster.update(REQUESTS, {**made, "status": wanted["status"]}, "status")


async def test_signs_what_is_approved_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    pki.ensure_ca(tmp_path)
    cluster = FakeCluster()
    files = {
        "cluster_signing_cert_file": str(tmp_path / "ca.crt"),
        "cluster_signing_key_file": str(tmp_path / "ca.key"),
    }
    async with running(cluster, CONTROLLER, **files):
        ask(cluster, request("yes", CLIENT, APPROVED, expirationSeconds=3600))
        ask(cluster, request("pending", CLIENT))
        ask(cluster, request("denied", CLIENT, {"type": "Denied", "status": "True"}))
        ask(cluster, request("custom", "example.com/own", APPROVED))
        ask(cluster, request("wrong", NODE_CLIENT, APPROVED))
        await until(lambda: cluster.get(REQUESTS, "", "yes")["status"].get("certificate"))
        await until(lambda: len(cluster.get(REQUESTS, "", "wrong")["status"]["conditions"]) == 2)
        await settle(cluster)
        status = {n: cluster.get(REQUESTS, "", n)["status"] for n in ("yes", "pending", "denied", "custom", "wrong")}
    assert [n for n, s in status.items() if s.get("certificate")] == ["yes"]
    failed = status["wrong"]["conditions"][1]
    assert (failed["type"], failed["reason"]) == ("Failed", "SignerValidationFailure")
    assert "digital signature" in failed["message"]
    made = x509.load_pem_x509_certificate(base64.b64decode(status["yes"]["certificate"]))
    made.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes()))
    assert pki.identity(made.public_bytes(serialization.Encoding.DER)) == ("u", ("g",))
    assert (made.not_valid_after_utc - made.not_valid_before_utc).total_seconds() == 3600 + pki.BACKDATE.total_seconds()


NODE = ("system:node:n", "system:nodes")
SIGNING = ["digital signature", "key encipherment"]


@pytest.mark.parametrize(
    ("signer", "asked", "usages", "refusal"),
    [
        (CLIENT, encoded("u"), [*SIGNING, "client auth"], ""),
        (CLIENT, encoded("u"), [*SIGNING, "server auth"], "usages"),
        (NODE_CLIENT, encoded(*NODE), [*SIGNING, "client auth"], ""),
        (NODE_CLIENT, encoded("n", "system:nodes"), [*SIGNING, "client auth"], "common name"),
        (NODE_CLIENT, encoded("system:node:n", "g"), [*SIGNING, "client auth"], "organization"),
        (NODE_CLIENT, encoded(*NODE, "n"), [*SIGNING, "client auth"], "no alternative names"),
        (SERVING, encoded(*NODE, "n"), [*SIGNING, "server auth"], ""),
        (SERVING, encoded(*NODE), [*SIGNING, "server auth"], "needs a DNS name"),
        (CLIENT, base64.b64encode(b"none").decode(), ["client auth"], "PEM"),
    ],
)
def test_what_signers_refuse(signer: str, asked: str, usages: list[str], refusal: str) -> None:
    spec = {"request": asked, "signerName": signer, "usages": usages}
    if refusal:
        with pytest.raises(ValueError, match=refusal):
            judge(spec)
    else:
        judge(spec)
