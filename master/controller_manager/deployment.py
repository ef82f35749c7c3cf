"""Deployments: a ReplicaSet a template, and rollouts between them.

This file acts; what to do is decided in ``deployment_rollout`` (sizes), ``deployment_revisions`` (sets and
annotations) and ``deployment_status`` (conditions). Source: ``pkg/controller/deployment``.
"""

from collections.abc import Mapping, Sequence

from apimachinery.client.api import Write
from apimachinery.errors import AlreadyExists, ApiError, NotFound
from apimachinery.meta import (
    Key,
    Object,
    annotations_of,
    is_controlled_by,
    is_deleting,
    key_of,
    name_of,
    namespace_of,
    uid_of,
)
from apimachinery.scheme import DEPLOYMENTS, PODS, REPLICA_SETS
from apimachinery.selectors import from_object
from master.controller_manager import deployment_revisions as revisions
from master.controller_manager import deployment_rollout as rollout
from master.controller_manager import deployment_status as statuses
from master.controller_manager import ownership
from master.controller_manager.deployment_revisions import Sets
from master.controller_manager.expectations import Expectations
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.pod_control import in_ending_namespace
from master.controller_manager.replicaset import replicas_of
from master.controller_manager.status import write_status
from master.controller_manager.template_hash import equal_templates

_LEEWAY_SECONDS = 1.0  # conditions have whole seconds: look again a little after the deadline


class DeploymentController(ManagedController):
    name = "deployment-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._deployments = context.informers.informer(DEPLOYMENTS)
        self._sets = context.informers.informer(REPLICA_SETS)
        self._pods = context.informers.informer(PODS)
        self._deployments.add_index("namespace", lambda o: [namespace_of(o)])
        ownership.add_index(self._sets)
        ownership.add_index(self._pods)
        self._status_writes: Expectations[Key] = Expectations(self._deployments, self.queue, context.clock)
        self._set_writes: Expectations[Key] = Expectations(self._sets, self.queue, context.clock)
        self.enqueue_object(self._deployments)
        self.enqueue_by(self._sets, self._keys_of_set)
        self._pods.add_handler(self._pod_changed)

    def _keys_of_set(self, one: Object) -> list[Key]:
        return ownership.concerned_keys(one, DEPLOYMENTS, self._deployments)

    def _pod_changed(self, event: str, old: Object | None, new: Object | None) -> None:
        """Recreate waits for the last old pod to be gone: that is the one event of pods which counts."""
        if event != "DELETED" or old is None:
            return
        for key in ownership.owner_keys(old, REPLICA_SETS):
            owner = self._sets.store.get(*key)
            for deployment_key in ownership.owner_keys(owner, DEPLOYMENTS) if owner else ():
                deployment = self._deployments.store.get(*deployment_key)
                if deployment and (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
                    self.queue.add(deployment_key)

    async def reconcile(self, key: Key) -> float | None:
        deployment = self._deployments.store.get(*key)
        if deployment is None:
            self._status_writes.forget(key)
            self._set_writes.forget(key)
            return None
        if not (self._status_writes.satisfied(key) and self._set_writes.satisfied(key)):
            return None  # the event is on its way
        selector = from_object(deployment["spec"].get("selector"))
        if selector.everything:
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self.events.event(deployment, "Warning", "SelectingAll", message)
            return None
        owned = await ownership.claim(self.client, deployment, DEPLOYMENTS, selector, self._sets)
        sets = revisions.split(deployment, owned)
        if is_deleting(deployment):
            await self._write_status(deployment, sets, rolling=False)
            return None
        if await self._note_pause(deployment) or await self._update_new_set(deployment, sets):
            return None  # the change comes back as an event
        return await self._advance(deployment, sets)

    async def _advance(self, deployment: Object, sets: Sets) -> float | None:
        pods = {uid_of(s): ownership.owned(self._pods, s) for s in sets.all}
        step = rollout.plan(deployment, sets, rollout.pods_live(sets, pods))
        if step.create is not None:
            created = await self._create_set(deployment, sets, step.create)
            if created is None:
                return None
            sets = Sets(created, sets.old)
        sets = await self._resize(deployment, sets, step.sizes)
        rolling = not deployment["spec"].get("paused") and not rollout.is_scaling(deployment, sets)
        status = await self._write_status(deployment, sets, rolling=rolling)
        if deployment["spec"].get("paused") or statuses.is_complete(deployment, status):
            await self._clean_up(deployment, sets)
        left = statuses.seconds_to_deadline({**deployment, "status": status}, self.clock.now())
        return None if left is None or deployment["spec"].get("paused") else max(0.0, left) + _LEEWAY_SECONDS

    async def _note_pause(self, deployment: Object) -> bool:
        """Mark a Deployment that was just paused or resumed; whether it had to be marked."""
        new = statuses.paused_condition(deployment, self.clock.now())
        if new is None:
            return False
        status = deployment.get("status") or {}
        conditions = statuses.set_condition(status.get("conditions") or (), new)
        return await self._store_status(deployment, {**status, "conditions": conditions})

    async def _update_new_set(self, deployment: Object, sets: Sets) -> bool:
        """Bring revision, annotations and minReadySeconds of the new set up to date; whether it had to be."""
        if sets.new is None:
            return False
        annotations = revisions.new_set_annotations(deployment, sets.new, revisions.next_revision(sets))
        delay = deployment["spec"].get("minReadySeconds") or 0
        if annotations == annotations_of(sets.new) and delay == (sets.new["spec"].get("minReadySeconds") or 0):
            return False
        metadata = {**sets.new["metadata"], "annotations": annotations}
        spec = {**sets.new["spec"], "minReadySeconds": delay}
        updated = await self.client.update(REPLICA_SETS, {**sets.new, "metadata": metadata, "spec": spec})
        self._set_writes.wrote(key_of(deployment), updated)
        return True

    async def _create_set(self, deployment: Object, sets: Sets, size: int) -> Object | None:
        """Make the new set. None if its name is taken by another (then another name is tried next time)."""
        new = revisions.new_set(deployment, sets, size)
        try:
            created = await self.client.create(REPLICA_SETS, new)
        except AlreadyExists:
            return await self._taken(deployment, new)
        except ApiError as error:
            await self._note_failed_create(deployment, new, error)
            if in_ending_namespace(error):
                return None
            raise
        self._set_writes.wrote(key_of(deployment), created)
        if size > 0:
            self._tell_scaled(deployment, created, 0, size)
        return created

    async def _taken(self, deployment: Object, new: Object) -> Object | None:
        """Someone has the name. If it is ours after all (the store was behind), good; else count a collision."""
        there = await self.client.get(REPLICA_SETS, name_of(new), namespace_of(new))
        if is_controlled_by(there, deployment) and equal_templates(
            there["spec"]["template"], deployment["spec"]["template"]
        ):
            return there
        status = deployment.get("status") or {}
        collisions = int(status.get("collisionCount") or 0) + 1
        self.log.info("Name of the new replica set is taken", deployment=key_of(deployment), name=name_of(new))
        await self._store_status(deployment, {**status, "collisionCount": collisions})
        return None

    async def _note_failed_create(self, deployment: Object, new: Object, error: ApiError) -> None:
        message = f'Failed to create new replica set "{name_of(new)}": {error.message}'
        status = deployment.get("status") or {}
        failed = statuses.condition(statuses.PROGRESSING, "False", "ReplicaSetCreateError", message, self.clock.now())
        conditions = statuses.set_condition(status.get("conditions") or (), failed)
        await self._store_status(deployment, {**status, "conditions": conditions})
        if not in_ending_namespace(error):
            self.events.event(deployment, "Warning", "ReplicaSetCreateError", message)

    async def _resize(self, deployment: Object, sets: Sets, sizes: Sequence[tuple[Object, int]]) -> Sets:
        """Set the sizes and what the sets remember of the Deployment's; returns the sets as they are then."""
        remembered = revisions.size_annotations(deployment)
        planned = [(s, n) for s, n in sizes if n != replicas_of(s) or not _has(s, remembered)]
        writes = [Write.update(REPLICA_SETS, _resized(s, n, remembered)) for s, n in planned]
        fresh: dict[str, Object] = {}
        failure: ApiError | None = None
        for (one, size), result in zip(planned, await self.client.write(writes), strict=True):
            if isinstance(result, ApiError):
                failure = failure or (None if isinstance(result, NotFound) else result)
                continue
            fresh[uid_of(one)] = result
            self._set_writes.wrote(key_of(deployment), result)
            if size != replicas_of(one):
                self._tell_scaled(deployment, one, replicas_of(one), size)
        if failure is not None:
            raise failure
        new = fresh.get(uid_of(sets.new), sets.new) if sets.new is not None else None
        return Sets(new, [fresh.get(uid_of(s), s) for s in sets.old])

    def _tell_scaled(self, deployment: Object, one: Object, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        message = f"Scaled {way} replica set {name_of(one)} from {before} to {after}"
        self.events.event(deployment, "Normal", "ScalingReplicaSet", message)

    async def _write_status(self, deployment: Object, sets: Sets, *, rolling: bool) -> Object:
        status = statuses.next_status(deployment, sets, self.clock.now(), rolling=rolling)
        annotations = {}
        if sets.new is not None and revisions.revision_of(sets.new):
            annotations[revisions.REVISION] = annotations_of(sets.new)[revisions.REVISION]
        await self._store_status(deployment, status, annotations)
        return status

    async def _store_status(
        self, deployment: Object, status: Object, annotations: Mapping[str, str] | None = None
    ) -> bool:
        """Whether it was written: False if it is what is there."""
        written = await write_status(self.client, DEPLOYMENTS, deployment, status, annotations=annotations)
        if written is not None:
            self._status_writes.wrote(key_of(deployment), written)
        return written is not None

    async def _clean_up(self, deployment: Object, sets: Sets) -> None:
        old = revisions.superfluous(deployment, sets.old)
        writes = [Write.delete(REPLICA_SETS, name_of(s), namespace_of(s), uid=uid_of(s)) for s in old]
        for result in await self.client.write(writes):
            if isinstance(result, ApiError) and not isinstance(result, NotFound):
                raise result


def _has(one: Object, annotations: dict[str, str]) -> bool:
    return annotations.items() <= dict(annotations_of(one)).items()


def _resized(one: Object, size: int, annotations: dict[str, str]) -> Object:
    metadata = {**one["metadata"], "annotations": {**annotations_of(one), **annotations}}
    return {**one, "metadata": metadata, "spec": {**one["spec"], "replicas": size}}
