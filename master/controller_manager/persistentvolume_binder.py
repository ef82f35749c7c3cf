"""Binds PersistentVolumeClaims to PersistentVolumes, and keeps the phases of both.

Keys are (namespace, claim) and ("", volume). The volume is written first, with the version that was read, so two
claims never get one volume; a crash in between is finished by the next look. A claim without a fitting volume is left
to the provisioner of its class, named in an annotation. Deleting what a released volume held is its provisioner's
work; the policy Recycle is refused. Source: ``pkg/controller/volume/persistentvolume/pv_controller.go``.
"""

from apimachinery.errors import NotFound
from apimachinery.meta import Key, Object, annotations_of, is_deleting, key_of, name_of
from apimachinery.persistent_volumes import (
    BETA_STORAGE_PROVISIONER,
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    DEFAULT_CLASS,
    STORAGE_CLASSES,
    STORAGE_PROVISIONER,
    annotated,
    claimed,
    class_of,
    is_for,
)
from apimachinery.scheme import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.volume_plan import plan_claim, plan_volume


class PersistentVolumeBinder(ManagedController):
    name = "persistentvolume-binder-controller"
    component = "persistentvolume-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        informer = context.informers.informer
        self._volumes, self._claims = informer(PERSISTENT_VOLUMES), informer(PERSISTENT_VOLUME_CLAIMS)
        self._classes = informer(STORAGE_CLASSES)
        self._volumes.add_index("class", lambda v: (class_of(v),))
        self._volumes.add_index(
            "claim", lambda v: [f"{r['namespace']}/{r['name']}" for r in (v["spec"].get("claimRef"),) if r]
        )
        self._claims.add_index("waiting", lambda c: () if BIND_COMPLETED in annotations_of(c) else (class_of(c),))
        self.enqueue_by(self._claims, lambda c: [key_of(c), *_volume_key(c)])
        self.enqueue_by(self._volumes, self._concerned)
        self._classes.add_handler(lambda _, old, new: self._ask_waiting(name_of(new or old or {}), ""))

    def _concerned(self, volume: Object) -> list[Key]:
        ref = volume["spec"].get("claimRef") or {}
        if not ref:
            self._ask_waiting(class_of(volume))
        return [key_of(volume)] + ([(ref["namespace"], ref["name"])] if ref else [])

    def _ask_waiting(self, *classes: str) -> None:
        for name in classes:
            for claim in self._claims.store.by_index("waiting", name):
                self.queue.add(key_of(claim))

    async def reconcile(self, key: Key) -> None:
        await (self._sync_claim(key) if key[0] else self._sync_volume(key))

    # --- claims

    async def _sync_claim(self, key: Key) -> None:
        claim = self._claims.store.get(*key)
        if claim is None:  # it may have gone half bound, before it named its volume
            for volume in self._volumes.store.by_index("claim", "/".join(key)):
                self.queue.add(key_of(volume))
            return
        if await self._given_default_class(claim):
            return
        named = self._volumes.store.get("", claim["spec"].get("volumeName") or "-")
        storage_class = self._classes.store.get("", class_of(claim))
        plan = plan_claim(claim, storage_class, self._volumes.store.by_index("class", class_of(claim)), named)
        if plan.reason:
            warn = plan.lost or plan.reason in ("ProvisioningFailed", "VolumeMismatch", "ClaimMisbound")
            self.events.event(claim, "Warning" if warn else "Normal", plan.reason, plan.message)
        if plan.bind is not None:
            await self._bind(plan.bind, claim)
            return
        if plan.provisioner and annotations_of(claim).get(STORAGE_PROVISIONER) != plan.provisioner:
            asked = {STORAGE_PROVISIONER: plan.provisioner, BETA_STORAGE_PROVISIONER: plan.provisioner}
            claim = await self.client.update(PERSISTENT_VOLUME_CLAIMS, annotated(claim, asked))
        await self._show_claim(claim, "Lost" if plan.lost else "Pending", {})

    async def _given_default_class(self, claim: Object) -> bool:
        """A claim from before there was a default class gets it now (KEP-3333)."""
        if claim["spec"].get("storageClassName") is not None or claim["spec"].get("volumeName") or class_of(claim):
            return False
        defaults = [c for c in self._classes.store.list() if annotations_of(c).get(DEFAULT_CLASS) == "true"]
        if not defaults:
            return False
        newest = max(defaults, key=lambda c: (c["metadata"].get("creationTimestamp", ""), name_of(c)))
        spec = {**claim["spec"], "storageClassName": name_of(newest)}
        await self.client.update(PERSISTENT_VOLUME_CLAIMS, {**claim, "spec": spec})
        return True

    async def _bind(self, volume: Object, claim: Object) -> None:
        """Each step is skipped if it is done: this is also how a half-made binding is finished."""
        if not is_for(volume, claim) or not volume["spec"]["claimRef"].get("uid"):
            volume = await self.client.update(PERSISTENT_VOLUMES, claimed(volume, claim))
        await self._show_volume(volume, "Bound")
        if BIND_COMPLETED not in annotations_of(claim) or not claim["spec"].get("volumeName"):
            notes = {BIND_COMPLETED: "yes"}
            if not claim["spec"].get("volumeName"):
                notes[BOUND_BY_CONTROLLER] = "yes"
            bound = annotated({**claim, "spec": {**claim["spec"], "volumeName": name_of(volume)}}, notes)
            claim = await self.client.update(PERSISTENT_VOLUME_CLAIMS, bound)
        spec = volume["spec"]
        facts = {"accessModes": spec.get("accessModes"), "capacity": spec.get("capacity")}
        if (claim.get("status") or {}).get("phase") == "Bound":  # a provisioner may have grown it since
            return
        await self._show_claim(claim, "Bound", {k: v for k, v in facts.items() if v})

    async def _show_claim(self, claim: Object, phase: str, facts: Object) -> None:
        status = claim.get("status") or {}
        if phase != "Bound":
            status = {k: v for k, v in status.items() if k not in ("accessModes", "capacity")}
        shown = {**status, "phase": phase, **facts}
        if shown != claim.get("status"):
            await self.client.update(PERSISTENT_VOLUME_CLAIMS, {**claim, "status": shown}, subresource="status")

    # --- volumes

    async def _sync_volume(self, key: Key) -> None:
        volume = self._volumes.store.get(*key)
        if volume is None:
            return
        plan = plan_volume(volume, await self._claim_of(volume))
        if plan.ask:
            ref = volume["spec"]["claimRef"]
            self.queue.add((ref["namespace"], ref["name"]))
        if plan.unbind:
            spec = {k: v for k, v in volume["spec"].items() if k != "claimRef"}
            meta = volume["metadata"]
            notes = {k: v for k, v in annotations_of(volume).items() if k != BOUND_BY_CONTROLLER}
            freed = {**volume, "metadata": {**meta, "annotations": notes}, "spec": spec}
            volume = await self.client.update(PERSISTENT_VOLUMES, freed)
        await self._show_volume(volume, plan.phase)
        recycles = volume["spec"].get("persistentVolumeReclaimPolicy") == "Recycle"
        if plan.phase == "Released" and recycles and not is_deleting(volume):
            message = "the reclaim policy Recycle is not supported: delete the volume or clear its claimRef"
            self.events.event(volume, "Warning", "VolumeRecycleFailed", message)

    async def _claim_of(self, volume: Object) -> Object | None:
        """As the API server has it if the cache has none: a volume is not released by a cache that lags."""
        ref = volume["spec"].get("claimRef")
        if not ref:
            return None
        claim = self._claims.store.get(ref["namespace"], ref["name"])
        if claim is not None and claim["metadata"]["uid"] == ref.get("uid"):
            return claim
        try:
            return await self.client.get(PERSISTENT_VOLUME_CLAIMS, ref["name"], ref["namespace"])
        except NotFound:
            return None

    async def _show_volume(self, volume: Object, phase: str) -> None:
        status = volume.get("status") or {}
        if status.get("phase") != phase:
            shown = {**volume, "status": {"phase": phase}}
            await self.client.update(PERSISTENT_VOLUMES, shown, subresource="status")


def _volume_key(claim: Object) -> list[Key]:
    name = claim["spec"].get("volumeName")
    return [("", name)] if name else []
