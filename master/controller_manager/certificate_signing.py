"""Signs approved certificate requests for the signers of clients and nodes; other signers are left alone.

A certificate says the common name, the organizations and the alternative names of its request: what Kubernetes reads.
``kubernetes.io/legacy-unknown`` is left alone as well: it promises nothing to anybody.

Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
"""

import base64
import datetime
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from apimachinery.config import ConfigError
from apimachinery.meta import Key, Object, format_time
from apimachinery.pki import CertificateAuthority, Profile, load_ca
from apimachinery.scheme import kind_of
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.options import Options

REQUESTS = kind_of("certificatesigningrequests", "certificates.k8s.io")
NODES_GROUP, NODE_PREFIX = "system:nodes", "system:node:"
_SHORTEST_SECONDS = 600
_ALWAYS = frozenset(("digital signature", "key encipherment"))


class CertificateSigningController(ManagedController):
    """Keys are ("", request). Without ``--cluster-signing-cert-file`` it does nothing."""

    name = "certificatesigningrequest-signing-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._authority = signing_authority(context.options)
        self._longest = datetime.timedelta(seconds=context.options.cluster_signing_duration)
        self._requests = context.informers.informer(REQUESTS)
        if self._authority is not None:
            self.enqueue_object(self._requests)

    async def reconcile(self, key: Key) -> None:
        request = self._requests.store.get(*key)
        if request is None or self._authority is None or not is_to_be_signed(request):
            return
        spec = request["spec"]
        try:
            profile, csr = judge(spec)
        except ValueError as refusal:
            failed = _failure(str(refusal), format_time(self.clock.now()))
            await self._write(request, {"conditions": [*request["status"]["conditions"], failed]})
            return
        wanted = datetime.timedelta(seconds=max(spec.get("expirationSeconds") or 0, _SHORTEST_SECONDS))
        lifetime = min(wanted, self._longest) if spec.get("expirationSeconds") else self._longest
        certificate = self._authority.sign(profile, csr.public_key(), lifetime)
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        await self._write(request, {"certificate": base64.b64encode(pem).decode()})

    async def _write(self, request: Object, status: Object) -> None:
        metadata = {"resourceVersion": request["metadata"]["resourceVersion"]}
        patch = {"metadata": metadata, "status": status}
        await self.client.patch(REQUESTS, request["metadata"]["name"], "", patch, subresource="status")


def signing_authority(options: Options) -> CertificateAuthority | None:
    """The authority of ``--cluster-signing-*-file``; None if there is none. Raises ConfigError if it cannot be used."""
    certificate, key = options.cluster_signing_cert_file, options.cluster_signing_key_file
    if not certificate:
        return None
    try:
        return load_ca(Path(certificate), Path(key))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot sign with --cluster-signing-cert-file {certificate}: {error}") from error


def is_to_be_signed(request: Object) -> bool:
    """Approved, of a signer that is ours, and neither signed nor refused."""
    status = request.get("status") or {}
    types = {c["type"] for c in status.get("conditions") or () if c.get("status", "True") == "True"}
    ours = request["spec"].get("signerName") in SIGNERS
    return ours and "Approved" in types and not types & {"Denied", "Failed"} and not status.get("certificate")


def judge(spec: Object) -> tuple[Profile, x509.CertificateSigningRequest]:
    """What the certificate is to say, and the request. Raises ValueError with the reason if the signer refuses it."""
    csr = x509.load_pem_x509_csr(base64.b64decode(spec["request"]))
    if not csr.is_signature_valid:
        raise ValueError("the request is not signed with its own key")
    usages = frozenset(spec.get("usages") or ())
    profile = _profile(csr, usages)
    SIGNERS[spec["signerName"]](profile, usages)
    return profile, csr


def _profile(csr: x509.CertificateSigningRequest, usages: frozenset[str]) -> Profile:
    names = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = csr.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    try:
        alternative = list(csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        alternative = []
    if any(not isinstance(a, x509.DNSName | x509.IPAddress) for a in alternative):
        raise ValueError("only DNS names and IP addresses are signed as alternative names")
    return Profile(
        common_name=str(names[0].value) if names else "",
        groups=tuple(str(g.value) for g in groups),
        dns=tuple(a.value for a in alternative if isinstance(a, x509.DNSName)),
        ips=tuple(str(a.value) for a in alternative if isinstance(a, x509.IPAddress)),
        server="server auth" in usages,
        client="client auth" in usages,
    )


def _client(profile: Profile, usages: frozenset[str]) -> None:
    _check_usages(usages, "client auth")


def _node_client(profile: Profile, usages: frozenset[str]) -> None:
    _check_usages(usages, "client auth", "digital signature")
    _check_node(profile)
    if profile.dns or profile.ips:
        raise ValueError("a node's client certificate has no alternative names")


def _node_serving(profile: Profile, usages: frozenset[str]) -> None:
    _check_usages(usages, "server auth", "digital signature")
    _check_node(profile)
    if not profile.dns and not profile.ips:
        raise ValueError("a node's serving certificate needs a DNS name or an IP address")


def _check_usages(usages: frozenset[str], *needed: str) -> None:
    allowed = _ALWAYS.union(needed)
    if not usages.issuperset(needed) or not usages <= allowed:
        raise ValueError(f"usages must be among {sorted(allowed)} and contain {sorted(needed)}, not {sorted(usages)}")


def _check_node(profile: Profile) -> None:
    if profile.groups != (NODES_GROUP,):
        raise ValueError(f"the organization must be {NODES_GROUP}")
    if not profile.common_name.startswith(NODE_PREFIX):
        raise ValueError(f"the common name must begin with {NODE_PREFIX}")


SIGNERS: Mapping[str, Callable[[Profile, frozenset[str]], None]] = {
    "kubernetes.io/kube-apiserver-client": _client,
    "kubernetes.io/kube-apiserver-client-kubelet": _node_client,
    "kubernetes.io/kubelet-serving": _node_serving,
}


def _failure(why: str, now: str) -> Object:
    times = {"lastUpdateTime": now, "lastTransitionTime": now}
    return {"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why, **times}
