"""The local-path provisioner: a claim's volume is a folder on the node that runs its first pod.

Asks that node's agent for the folder, and to delete it when the volume is released and its policy says so. Makes the
class ``local-path`` at its start if no class of that name is there, as the default if no class is. Size is not limited
and volumes do not grow; block volumes, mount options and immediate binding are refused.
"""

import grpc

from apimachinery.agents import AgentChannels, agent_address
from apimachinery.errors import AlreadyExists, NotFound
from apimachinery.meta import Key, Object, annotations_of, is_deleting, key_of, labels_of, name_of, uid_of
from apimachinery.persistent_volumes import (
    DEFAULT_CLASS,
    LOCAL_PATH,
    PROVISIONED_BY,
    SELECTED_NODE,
    STORAGE_CLASSES,
    STORAGE_PROVISIONER,
    annotated,
    claim_reference,
    class_of,
)
from apimachinery.scheme import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from master.controller_manager.frame import Context, ManagedController
from protos.kubeto.v1 import node_pb2 as pb

CLASS_NAME = "local-path"
_HOSTNAME = "kubernetes.io/hostname"
_TIMEOUT_SECONDS = 30.0
_RETRY_SECONDS = 15.0


class LocalPathProvisioner(ManagedController):
    """Keys are (namespace, claim), ("", volume), and ("", "") for the class."""

    name = "local-path-provisioner"
    component = LOCAL_PATH
    workers = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        informer = context.informers.informer
        self._claims, self._volumes = informer(PERSISTENT_VOLUME_CLAIMS), informer(PERSISTENT_VOLUMES)
        self._classes, self._nodes = informer(STORAGE_CLASSES), informer(NODES)
        self._agents = AgentChannels(context.access)
        self.enqueue_by(self._claims, lambda c: [key_of(c)] if _asked(c) else [])
        self.enqueue_by(self._volumes, lambda v: [key_of(v)] if _ours(v) else [])
        self.queue.add(("", ""))

    async def close(self) -> None:
        await self._agents.close()
        await super().close()

    async def reconcile(self, key: Key) -> float | None:
        if key == ("", ""):
            await self._ensure_class()
            return None
        if not key[0]:
            volume = self._volumes.store.get(*key)
            return await self._reclaim(volume) if volume is not None and _ours(volume) else None
        claim = self._claims.store.get(*key)
        return await self._provision(claim) if claim is not None and _asked(claim) else None

    async def _ensure_class(self) -> None:
        others = self._classes.store.list()
        if any(name_of(c) == CLASS_NAME for c in others):
            return
        has_default = any(annotations_of(c).get(DEFAULT_CLASS) == "true" for c in others)
        made: Object = {
            "apiVersion": STORAGE_CLASSES.api_version,
            "kind": STORAGE_CLASSES.kind,
            "metadata": {"name": CLASS_NAME, "annotations": {DEFAULT_CLASS: "false" if has_default else "true"}},
            "provisioner": LOCAL_PATH,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
        try:
            await self.client.create(STORAGE_CLASSES, made)
        except AlreadyExists:
            self.log.debug("The class is there already")

    async def _provision(self, claim: Object) -> float | None:
        storage_class = self._classes.store.get("", class_of(claim))
        node = self._nodes.store.get("", annotations_of(claim).get(SELECTED_NODE) or "-")
        why = _refusal(claim, storage_class, node)
        if why or storage_class is None or node is None:
            self.events.event(claim, "Warning", "ProvisioningFailed", why)
            return None
        name = f"pvc-{uid_of(claim)}"
        try:
            path = await self._call("MakeLocalVolume", node, name)
        except grpc.RpcError as error:
            self.events.event(claim, "Warning", "ProvisioningFailed", f"node {name_of(node)}: {_words(error)}")
            return _RETRY_SECONDS
        try:
            await self.client.create(PERSISTENT_VOLUMES, volume_of(claim, storage_class, node, name, path))
        except AlreadyExists:
            return None
        self.events.event(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}")
        return None

    async def _reclaim(self, volume: Object) -> float | None:
        """Delete what a released volume held, then the volume; also when somebody deletes it by hand."""
        delete = volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        released = (volume.get("status") or {}).get("phase") == "Released"
        if not released or not (delete or is_deleting(volume)):
            return None
        node = self._nodes.store.get("", annotations_of(volume).get(SELECTED_NODE) or "-")
        if delete and node is not None:  # a node that is gone took its folders along
            try:
                await self._call("RemoveLocalVolume", node, name_of(volume))
            except grpc.RpcError as error:
                message = f"node {name_of(node)}: {_words(error)}"
                self.events.event(volume, "Warning", "VolumeFailedDelete", message)
                return _RETRY_SECONDS
        try:
            if not is_deleting(volume):
                await self.client.delete(PERSISTENT_VOLUMES, name_of(volume), uid=uid_of(volume))
        except NotFound:
            self.log.debug("Gone already", volume=name_of(volume))
        return None

    async def _call(self, verb: str, node: Object, name: str) -> str:
        stub = self._agents.stub(agent_address(node))
        request = pb.LocalVolumeRequest(node=name_of(node), name=name)
        reply: pb.LocalVolumeReply = await getattr(stub, verb)(request, timeout=_TIMEOUT_SECONDS)
        return reply.path


def volume_of(claim: Object, storage_class: Object, node: Object, name: str, path: str) -> Object:
    """The PersistentVolume: kept for the claim, and on its node only. Pure."""
    here = {"key": _HOSTNAME, "operator": "In", "values": [labels_of(node).get(_HOSTNAME, name_of(node))]}
    spec = {
        "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
        "accessModes": claim["spec"]["accessModes"],
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
        "storageClassName": name_of(storage_class),
        "volumeMode": "Filesystem",
        "claimRef": claim_reference(claim),
        "local": {"path": path},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
    }
    volume: Object = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}
    return annotated(volume, {PROVISIONED_BY: LOCAL_PATH, SELECTED_NODE: name_of(node)})


def _refusal(claim: Object, storage_class: Object | None, node: Object | None) -> str:
    if storage_class is None:
        return f'storageclass.storage.k8s.io "{class_of(claim)}" not found'
    if SELECTED_NODE not in annotations_of(claim):
        return f"{LOCAL_PATH} needs a class with volumeBindingMode WaitForFirstConsumer"
    if node is None:
        return f'node "{annotations_of(claim)[SELECTED_NODE]}" not found'
    if claim["spec"].get("volumeMode") == "Block":
        return f"{LOCAL_PATH} makes no block volumes"
    if claim["spec"].get("selector"):
        return f"{LOCAL_PATH} cannot honour the claim's selector"
    if storage_class.get("mountOptions") or storage_class.get("parameters"):
        return f"{LOCAL_PATH} takes no mountOptions and no parameters"
    return ""


def _asked(claim: Object) -> bool:
    """Whether a claim waits for a volume of ours."""
    asked = annotations_of(claim).get(STORAGE_PROVISIONER) == LOCAL_PATH
    return asked and not claim["spec"].get("volumeName") and not is_deleting(claim)


def _ours(volume: Object) -> bool:
    return annotations_of(volume).get(PROVISIONED_BY) == LOCAL_PATH


def _words(error: grpc.RpcError) -> str:
    return str(error.details()) if isinstance(error, grpc.aio.AioRpcError) else str(error)
