"""Secrets of type kubernetes.io/service-account-token get their token, where upstream's token controller would put it.

It is done with the write itself: whoever creates such a Secret may read the token from the answer. A Secret whose
account does not exist is refused, which upstream deletes a moment later. The token ends with Secret and account.

Source: https://kubernetes.io/docs/concepts/configuration/secret/#serviceaccount-token-secrets
"""

import base64

from apimachinery import meta, scheme
from apimachinery.errors import NotFound

from ...auth.service_account import TokenIssuer
from ...registry.reader import Object, Reader
from ..chain import AdmissionRequest, Plugin

TYPE = "kubernetes.io/service-account-token"
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"


class ServiceAccountSecret(Plugin):
    """``ca`` is the PEM of the cluster's CA."""

    name = "ServiceAccountSecret"

    def __init__(self, reader: Reader, issuer: TokenIssuer, ca: bytes) -> None:
        self._reader, self._issuer, self._ca = reader, issuer, ca

    def handles(self, request: AdmissionRequest) -> bool:
        return request.kind is scheme.SECRETS and request.operation in ("CREATE", "UPDATE")

    async def mutate(self, request: AdmissionRequest) -> None:
        secret = request.object
        if secret is None or secret.get("type") != TYPE or not (name := meta.annotations_of(secret).get(NAME)):
            return
        account = await self._reader.get_consistent(scheme.SERVICE_ACCOUNTS, request.namespace, name)
        if account is None:
            if request.operation == "UPDATE":
                return
            raise NotFound(f'serviceaccounts "{name}" not found', name=name, kind="serviceaccounts")
        secret["metadata"]["annotations"][UID] = account["metadata"]["uid"]
        data: Object = secret.setdefault("data", {})
        if "token" not in data:
            data["token"] = _encoded(self._issuer.issue_legacy(account, secret["metadata"]["name"]).encode())
        data.setdefault("namespace", _encoded(request.namespace.encode()))
        if self._ca:
            data.setdefault("ca.crt", _encoded(self._ca))


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
