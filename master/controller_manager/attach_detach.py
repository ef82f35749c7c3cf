"""Has volumes attached to the nodes of the pods that need them, and detached when no pod needs or holds them.

It only writes VolumeAttachments; a driver's external-attacher does what they say. Keys are ("", node). What is attached
is told in the node's status, under its version, before anything is detached: so an agent that has told of its use and
then reads that a volume is attached may rely on it. Source: ``pkg/controller/volume/attachdetach``.
"""

from datetime import datetime

from apimachinery import pods as pod_facts
from apimachinery.csi import CSI_DRIVERS, VOLUME_ATTACHMENTS, attach_required, attachment_name
from apimachinery.errors import AlreadyExists, NotFound
from apimachinery.meta import Key, Object, condition_is_true, is_deleting, name_of, namespace_of, uid_of, version_of
from apimachinery.persistent_volumes import claims_of, is_for
from apimachinery.scheme import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from master.controller_manager.attach_plan import AttachPlan, Needed, is_attached, one_node_only, plan
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.node_lifecycle import BY_NODE
from master.controller_manager.pod_gc import is_out_of_service
from master.controller_manager.volume_protection import BY_CLAIM, claim_values

_VOLUME, _NODE = "volume", "node"


class AttachDetachController(ManagedController):
    """``_unneeded``: by node, since when attachments that a node still uses are needed by no pod. ``_attaching``: by
    volume, the node to which it is being attached and that no cache knows of yet."""

    name = "persistentvolume-attach-detach-controller"
    component = "attachdetach-controller"
    workers = 1  # no two nodes take one volume

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        informer = context.informers.informer
        self._pods, self._nodes = informer(PODS), informer(NODES)
        self._claims, self._volumes = informer(PERSISTENT_VOLUME_CLAIMS), informer(PERSISTENT_VOLUMES)
        self._drivers, self._attachments = informer(CSI_DRIVERS), informer(VOLUME_ATTACHMENTS)
        self._unneeded: dict[str, dict[str, datetime]] = {}
        self._attaching: dict[str, str] = {}
        self._pods.add_index(BY_NODE, lambda p: [pod_facts.node_name(p)])
        self._pods.add_index(BY_CLAIM, claim_values)
        self._attachments.add_index(_VOLUME, lambda a: [a["spec"]["source"].get("persistentVolumeName") or ""])
        self._attachments.add_index(_NODE, lambda a: [a["spec"]["nodeName"]])
        self.enqueue_by(self._pods, lambda p: [("", pod_facts.node_name(p))] if claims_of(p) else [])
        self.enqueue_by(self._claims, lambda c: self._users(namespace_of(c), name_of(c)))
        self.enqueue_by(self._volumes, self._users_of_volume)
        self._attachments.add_handler(lambda _, old, new: self._attachment_changed(old, new))
        self._nodes.add_handler(lambda _, old, new: self._node_changed(old, new))

    def _users(self, namespace: str, claim: str) -> list[Key]:
        pods = self._pods.store.by_index(BY_CLAIM, f"{namespace}/{claim}")
        return [("", pod_facts.node_name(pod)) for pod in pods]

    def _users_of_volume(self, volume: Object) -> list[Key]:
        ref = volume["spec"].get("claimRef") or {}
        return self._users(ref["namespace"], ref["name"]) if ref and "csi" in volume["spec"] else []

    def _attachment_changed(self, old: Object | None, new: Object | None) -> None:
        about = new or old or {}
        self.queue.add(("", about["spec"]["nodeName"]))
        volume_name = about["spec"]["source"].get("persistentVolumeName") or "-"
        self._attaching.pop(volume_name, None)
        volume = self._volumes.store.get("", volume_name)
        if new is None and volume is not None:  # others may have waited for it
            for key in self._users_of_volume(volume):
                self.queue.add(key)
        if new is not None and old is not None and is_attached(new) and not is_attached(old) and volume is not None:
            message = f'AttachVolume.Attach succeeded for volume "{name_of(volume)}"'
            for pod in self._pods_with(volume, new["spec"]["nodeName"]):
                self.events.event(pod, "Normal", "SuccessfulAttachVolume", message)

    def _pods_with(self, volume: Object, node: str) -> list[Object]:
        ref = volume["spec"].get("claimRef") or {}
        pods = self._pods.store.by_index(BY_CLAIM, f"{ref.get('namespace')}/{ref.get('name')}")
        return [p for p in pods if pod_facts.node_name(p) == node]

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or _facts(old) != _facts(new):
            self.queue.add(("", name_of(new or old or {})))

    async def reconcile(self, key: Key) -> float | None:
        name = key[1]
        attachments = self._attachments.store.by_index(_NODE, name)
        needed = self._needed(name)
        if not attachments and not needed:
            self._unneeded.pop(name, None)
            return None
        node, now = self._nodes.store.get("", name), self.clock.now()
        todo = plan(
            name,
            node,
            needed,
            attachments,
            self._unneeded.get(name, {}),
            now,
            dead=node is not None and is_out_of_service(node),
            healthy=node is not None and condition_is_true(node, "Ready"),
        )
        self._unneeded[name] = todo.unneeded
        self._tell_failures(needed, attachments, todo)
        await self._show(node, todo)
        for attachment in todo.detach:
            await self._detach(attachment)
        for made, one in todo.attach:
            await self._attach(made, one, name)
        return None if todo.wake is None else (todo.wake - now).total_seconds()

    def _needed(self, node: str) -> dict[str, Needed]:
        """What pods of the node that have not ended need attached, by the attachments' names."""
        users: dict[str, tuple[Object, list[Object]]] = {}
        for pod in self._pods.store.by_index(BY_NODE, node) if node else ():
            if not pod_facts.is_finished(pod):
                for claim in claims_of(pod):
                    volume = self._attachable(namespace_of(pod), claim)
                    if volume is not None:
                        users.setdefault(name_of(volume), (volume, []))[1].append(pod)
        out = {}
        for volume, pods in users.values():
            source = volume["spec"]["csi"]
            name = attachment_name(source["driver"], source["volumeHandle"], node)
            holders = {a["spec"]["nodeName"] for a in self._attachments.store.by_index(_VOLUME, name_of(volume))}
            holders.add(self._attaching.get(name_of(volume), node))
            busy = one_node_only(volume) and bool(holders - {node})
            out[name] = Needed(volume, tuple(pods), busy)
        return out

    def _attachable(self, namespace: str, name: str) -> Object | None:
        """The volume behind a claim, if it is CSI's, bound, and its driver wants it attached."""
        claim = self._claims.store.get(namespace, name)
        volume = self._volumes.store.get("", ((claim or {}).get("spec") or {}).get("volumeName") or "-")
        if claim is None or volume is None or "csi" not in volume["spec"] or not is_for(volume, claim):
            return None
        driver = self._drivers.store.get("", volume["spec"]["csi"]["driver"])
        return volume if attach_required(driver) else None

    def _tell_failures(self, needed: dict[str, Needed], attachments: list[Object], todo: AttachPlan) -> None:
        for one in todo.blocked:
            words = "Volume is already exclusively attached to one node and can't be attached to another"
            self._failed(one, f'Multi-Attach error for volume "{name_of(one.volume)}" {words}')
        for attachment in attachments:
            error = (attachment.get("status") or {}).get("attachError")
            if error and name_of(attachment) in needed and not is_attached(attachment):
                one = needed[name_of(attachment)]
                message = f'AttachVolume.Attach failed for volume "{name_of(one.volume)}" : {error.get("message", "")}'
                self._failed(one, message)

    def _failed(self, one: Needed, message: str) -> None:
        for pod in one.pods:
            self.events.event(pod, "Warning", "FailedAttachVolume", message)

    async def _show(self, node: Object | None, todo: AttachPlan) -> None:
        status = (node or {}).get("status") or {}
        if node is None or todo.shown == sorted(v["name"] for v in status.get("volumesAttached") or ()):
            return
        shown = [{"name": name, "devicePath": ""} for name in todo.shown]
        patch = {"metadata": {"resourceVersion": str(version_of(node))}, "status": {"volumesAttached": shown or None}}
        await self.client.patch(NODES, name_of(node), "", patch, subresource="status")

    async def _attach(self, name: str, one: Needed, node: str) -> None:
        spec = {"attacher": one.driver, "nodeName": node, "source": {"persistentVolumeName": name_of(one.volume)}}
        made: Object = {"apiVersion": VOLUME_ATTACHMENTS.api_version, "kind": VOLUME_ATTACHMENTS.kind}
        try:
            await self.client.create(VOLUME_ATTACHMENTS, {**made, "metadata": {"name": name}, "spec": spec})
            self._attaching[name_of(one.volume)] = node
        except AlreadyExists:
            self.log.debug("Attachment is there already", name=name)

    async def _detach(self, attachment: Object) -> None:
        try:
            await self.client.delete(VOLUME_ATTACHMENTS, name_of(attachment), uid=uid_of(attachment))
        except NotFound:
            self.log.debug("Detached already", name=name_of(attachment))


def _facts(node: Object) -> list[object]:
    """What of a node matters here."""
    status, spec = node.get("status") or {}, node.get("spec") or {}
    told = [status.get("volumesInUse"), status.get("volumesAttached"), spec.get("taints")]
    return [*told, condition_is_true(node, "Ready"), is_deleting(node)]
