"""Makes the claims of generic ephemeral volumes: one a pod and volume, owned by the pod (KEP-1698)."""

from apimachinery.errors import AlreadyExists
from apimachinery.meta import Key, Object, is_controlled_by, is_deleting, name_of, namespace_of, owner_reference
from apimachinery.scheme import PERSISTENT_VOLUME_CLAIMS, PODS
from master.controller_manager.frame import Context, ManagedController


class EphemeralVolumeController(ManagedController):
    name = "ephemeral-volume-controller"
    component = "ephemeral_volume"
    workers = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._pods = context.informers.informer(PODS)
        self._claims = context.informers.informer(PERSISTENT_VOLUME_CLAIMS)
        self.enqueue_by(self._pods, lambda pod: [(namespace_of(pod), name_of(pod))] if _ephemeral(pod) else [])

    async def reconcile(self, key: Key) -> None:
        pod = self._pods.store.get(*key)
        if pod is None or is_deleting(pod):
            return
        for volume in _ephemeral(pod):
            name = f"{name_of(pod)}-{volume['name']}"
            claim = self._claims.store.get(key[0], name)
            if claim is None:
                await self._create(pod, name, volume["ephemeral"]["volumeClaimTemplate"])
            elif not is_controlled_by(claim, pod):
                message = f'PVC "{key[0]}/{name}" was not created for pod "{key[0]}/{key[1]}" (pod is not owner)'
                self.events.event(pod, "Warning", "ProvisioningFailed", message)

    async def _create(self, pod: Object, name: str, template: Object) -> None:
        kept = {k: v for k, v in (template.get("metadata") or {}).items() if k in ("labels", "annotations")}
        owners = [owner_reference(pod, PODS)]
        meta = {**kept, "name": name, "namespace": namespace_of(pod), "ownerReferences": owners}
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": template["spec"]}
        try:
            await self.client.create(PERSISTENT_VOLUME_CLAIMS, claim)
        except AlreadyExists:
            self.log.debug("Claim is there already", claim=name)


def _ephemeral(pod: Object) -> list[Object]:
    return [v for v in (pod.get("spec") or {}).get("volumes") or () if v.get("ephemeral")]
