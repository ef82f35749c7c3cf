"""ServiceAccount: every pod runs as an account that exists, with its token mounted and its pull secrets.

Source: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
"""

import asyncio

from apimachinery import meta, scheme

from ...registry.reader import Object, Reader
from ..chain import AdmissionRequest, Plugin
from ..refusal import forbidden

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
TOKEN_SECONDS = 3607
"""An hour, and odd enough that it can be told from what a user asked for."""
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"

# A new namespace gets its default account from a controller: `create ns` and `run` may follow within milliseconds.
_WAITS = 20
_WAIT_SECONDS = 0.05


class ServiceAccount(Plugin):
    name = "ServiceAccount"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        return request.kind is scheme.PODS and request.operation == "CREATE" and not request.subresource

    async def mutate(self, request: AdmissionRequest) -> None:
        pod = request.object
        if pod is None or MIRROR_ANNOTATION in meta.annotations_of(pod):
            return
        spec: Object = pod.setdefault("spec", {})
        name = spec.setdefault("serviceAccountName", "") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = await self._account(request, name)
        if wants_token(spec, account):
            mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(secret) for secret in account["imagePullSecrets"]]

    async def _account(self, request: AdmissionRequest, name: str) -> Object:
        for _ in range(_WAITS):
            if (found := self._reader.get(scheme.SERVICE_ACCOUNTS, request.namespace, name)) is not None:
                return found
            await asyncio.sleep(_WAIT_SECONDS)
        found = await self._reader.get_consistent(scheme.SERVICE_ACCOUNTS, request.namespace, name)
        if found is None:
            where = f"{request.namespace}/{name}"
            raise forbidden(request, f'error looking up service account {where}: serviceaccount "{name}" not found')
        return found


def wants_token(spec: Object, account: Object) -> bool:
    """The pod decides, else the account, else yes."""
    for who in (spec, account):
        if who.get("automountServiceAccountToken") is not None:
            return bool(who["automountServiceAccountToken"])
    return True


def mount_token(spec: Object) -> None:
    """Add the token volume and mount it in every container that has nothing at its path. Idempotent."""
    volumes = spec.get("volumes") or []
    existing = next((v["name"] for v in volumes if str(v.get("name", "")).startswith(VOLUME_PREFIX)), "")
    name = existing or VOLUME_PREFIX + meta.name_suffix()
    mounted = False
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        mounts = container.get("volumeMounts") or []
        if not any(m.get("mountPath") == MOUNT_PATH for m in mounts):
            container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
            mounted = True
    if mounted and not existing:
        spec["volumes"] = [*volumes, token_volume(name)]


def token_volume(name: str) -> Object:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": name, "projected": {"defaultMode": 0o644, "sources": sources}}
