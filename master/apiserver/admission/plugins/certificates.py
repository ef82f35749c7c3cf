"""CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who may say yes, who may sign, and what
nobody may ask for.

Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

import base64
import binascii

from cryptography import x509
from cryptography.x509.oid import NameOID

from apimachinery import scheme

from ...auth.authorizer import Authorizer, RequestAttributes
from ...auth.user import MASTERS_GROUP, User
from ...registry.reader import Object
from ..chain import AdmissionRequest, Plugin
from ..refusal import forbidden

REQUESTS = scheme.kind_of("certificatesigningrequests", "certificates.k8s.io")
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_DECISIONS = ("Approved", "Denied")


class CertificateDecisions(Plugin):
    """A decision needs ``approve`` on the signer, a certificate ``sign``, besides the right to write the object."""

    name = "CertificateDecisions"

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, request: AdmissionRequest) -> bool:
        return request.kind is REQUESTS and request.operation == "UPDATE" and request.subresource != ""

    async def validate(self, request: AdmissionRequest) -> None:
        if request.object is None or request.old is None:
            return
        signer = str((request.old.get("spec") or {}).get("signerName", ""))
        if request.subresource == "approval" and _decisions(request.object) != _decisions(request.old):
            self._require(request, "approve", signer)
        if request.subresource == "status" and _certificate(request.object) != _certificate(request.old):
            self._require(request, "sign", signer)

    def _require(self, request: AdmissionRequest, verb: str, signer: str) -> None:
        if not may_use_signer(self._authorizer, request.user, verb, signer):
            raise forbidden(request, f'user not permitted to {verb} requests with signerName "{signer}"')


class CertificateRequester(Plugin):
    """A request says who made it, whatever its maker says."""

    name = "CertificateRequester"

    def handles(self, request: AdmissionRequest) -> bool:
        return request.kind is REQUESTS and request.operation == "CREATE" and not request.subresource

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.object is None:
            return
        user = request.user
        spec = request.object.setdefault("spec", {})
        for key in ("username", "uid", "groups", "extra"):
            spec.pop(key, None)
        said: Object = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
        said["extra"] = {k: list(v) for k, v in user.extra.items()}
        spec.update({k: v for k, v in said.items() if v})


class CertificateSubjectRestriction(Plugin):
    """No client certificate is asked for in the name of system:masters."""

    name = "CertificateSubjectRestriction"

    def handles(self, request: AdmissionRequest) -> bool:
        return request.kind is REQUESTS and request.operation == "CREATE" and not request.subresource

    async def validate(self, request: AdmissionRequest) -> None:
        spec = (request.object or {}).get("spec") or {}
        if spec.get("signerName") == CLIENT_SIGNER and MASTERS_GROUP in _organizations(spec.get("request", "")):
            why = f"use of {CLIENT_SIGNER} signer with {MASTERS_GROUP} group is not allowed"
            raise forbidden(request, why)


def may_use_signer(authorizer: Authorizer, user: User, verb: str, signer: str) -> bool:
    """Whether RBAC allows ``verb`` on this signer, or on all signers of its domain."""
    names = (signer, f"{signer.partition('/')[0]}/*")
    return any(
        authorizer.authorize(RequestAttributes(user, verb, REQUESTS.group, "v1", "signers", name=name)).allowed
        for name in names
    )


def _decisions(request: Object) -> list[Object]:
    conditions = (request.get("status") or {}).get("conditions") or ()
    return [c for c in conditions if c.get("type") in _DECISIONS]


def _certificate(request: Object) -> str:
    return str((request.get("status") or {}).get("certificate") or "")


def _organizations(encoded: str) -> list[str]:
    """The groups of a PEM request; none for what is none: validation says so."""
    try:
        request = x509.load_pem_x509_csr(base64.b64decode(encoded))
    except (ValueError, binascii.Error):
        return []
    return [str(a.value) for a in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
