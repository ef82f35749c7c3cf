"""StatefulSets: pods with an identity, in order.

What to do is decided in ``statefulset_plan``. Source: ``pkg/controller/statefulset``.
"""

from collections.abc import Sequence

from apimachinery.client.api import Write
from apimachinery.errors import AlreadyExists, ApiError, NotFound
from apimachinery.meta import (
    Key,
    Object,
    is_deleting,
    key_of,
    name_of,
    namespace_of,
    uid_of,
)
from apimachinery.scheme import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from apimachinery.selectors import from_object
from master.controller_manager import ownership
from master.controller_manager import statefulset_claims as claims
from master.controller_manager import statefulset_plan as plans
from master.controller_manager.controller_revisions import CONTROLLER_REVISIONS, History, Revisions
from master.controller_manager.expectations import Expectations
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.pod_control import in_ending_namespace
from master.controller_manager.replicaset import seconds_to_available
from master.controller_manager.statefulset_plan import Versions
from master.controller_manager.status import write_status


class StatefulSetController(ManagedController):
    name = "statefulset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sets = context.informers.informer(STATEFUL_SETS)
        self._pods = context.informers.informer(PODS)
        self._claims = context.informers.informer(PERSISTENT_VOLUME_CLAIMS)
        revisions = context.informers.informer(CONTROLLER_REVISIONS)
        ownership.add_index(self._pods)
        self._sets.add_index("namespace", lambda o: [namespace_of(o)])
        self._revisions = Revisions(self.client, STATEFUL_SETS, revisions)
        self._expectations: Expectations[Key] = Expectations(self._pods, self.queue, context.clock)
        self._status_writes: Expectations[Key] = Expectations(self._sets, self.queue, context.clock)
        self.enqueue_object(self._sets)
        self.enqueue_by(self._pods, self._keys)
        self.enqueue_by(self._claims, self._claim_keys)
        self.enqueue_by(revisions, lambda r: ownership.owner_keys(r, STATEFUL_SETS))

    def _keys(self, pod: Object) -> list[Key]:
        return ownership.concerned_keys(pod, STATEFUL_SETS, self._sets)

    def _claim_keys(self, claim: Object) -> list[Key]:
        found = self._sets.store.by_index("namespace", namespace_of(claim))
        return [key_of(o) for o in found if claims.is_claim_of(o, claim)]

    async def reconcile(self, key: Key) -> float | None:
        owner = self._sets.store.get(*key)
        if owner is None:
            self._expectations.forget(key)
            self._status_writes.forget(key)
            return None
        if not self._status_writes.satisfied(key):
            return None  # its event is on its way
        if is_deleting(owner) or not self._expectations.satisfied(key):
            return None
        history = await self._revisions.of(owner)
        if history is None:
            return None
        versions = _versions(owner, history)
        selector = from_object(owner["spec"].get("selector"))
        pods = await ownership.claim(self.client, owner, STATEFUL_SETS, selector, self._pods)
        await self._own_claims(owner, pods)
        step = plans.plan(owner, pods, versions, self.clock.now(), self._hindered(owner))
        failure = await self._act(owner, step, versions)
        status = plans.next_status(owner, pods, versions, self.clock.now())
        written = await write_status(self.client, STATEFUL_SETS, owner, status)
        if written is not None:
            self._status_writes.wrote(key, written)
        if failure is not None and not in_ending_namespace(failure):
            raise failure
        used = {plans.revision_of(p) for p in pods} | {name_of(versions.current)}
        await self._revisions.clean_up(owner, history, used)
        return seconds_to_available(owner, pods, self.clock.now())

    def _claims_of(self, owner: Object, pod_name: str) -> list[Object]:
        names = [claims.claim_name(t, pod_name) for t in claims.templates_of(owner)]
        found = [self._claims.store.get(namespace_of(owner), name) for name in names]
        return [claim for claim in found if claim is not None]

    async def _own_claims(self, owner: Object, pods: Sequence[Object]) -> None:
        """Before anything is deleted: a claim that should go with its pod must be the pod's. Raises ApiError."""
        wanted, changes = plans.wanted_ordinals(owner), []
        for pod in pods:
            ordinal = plans.ordinal_of(owner, pod)
            if ordinal is None or (ordinal in wanted and is_deleting(pod) and plans.is_one_by_one(owner)):
                continue  # the pod that follows will take its claims, or wait until they are gone
            for claim in self._claims_of(owner, name_of(pod)):
                right = claims.references(owner, pod, ordinal in wanted, claim)
                if right is not None:
                    changes.append((claim, right))
        await ownership.set_references(self.client, PERSISTENT_VOLUME_CLAIMS, changes)

    def _hindered(self, owner: Object) -> set[int]:
        names = {o: f"{name_of(owner)}-{o}" for o in plans.wanted_ordinals(owner)} if claims.templates_of(owner) else {}
        return {o for o, n in names.items() if any(claims.hinders(owner, n, c) for c in self._claims_of(owner, n))}

    async def _act(self, owner: Object, step: plans.Step, versions: Versions) -> ApiError | None:
        for pod in step.ended:
            message = f"StatefulSet {namespace_of(owner)}/{name_of(owner)} is recreating failed Pod {name_of(pod)}"
            self.events.event(owner, "Warning", "RecreatingFailedPod", message)
        failure = await self._delete(owner, [*step.ended, *step.delete])
        pods = [plans.new_pod(owner, o, plans.version_for(owner, o, versions)) for o in step.create]
        return await self._create(owner, pods) or failure

    async def _create(self, owner: Object, pods: Sequence[Object]) -> ApiError | None:
        new = [claim for pod in pods for claim in claims.claims_for(owner, name_of(pod))]
        for made in await self.client.write([Write.create(PERSISTENT_VOLUME_CLAIMS, c) for c in new]):
            if isinstance(made, ApiError) and not isinstance(made, AlreadyExists):
                return made
        failure = None
        for pod, result in zip(pods, await self.client.write([Write.create(PODS, p) for p in pods]), strict=True):
            failure = self._tell(owner, "create", pod, result) or failure
            if not isinstance(result, ApiError):
                self._expectations.wrote(key_of(owner), result)
        return failure

    async def _delete(self, owner: Object, pods: Sequence[Object]) -> ApiError | None:
        writes = [Write.delete(PODS, name_of(p), namespace_of(p), uid=uid_of(p)) for p in pods]
        failure = None
        for pod, result in zip(pods, await self.client.write(writes), strict=True):
            if isinstance(result, NotFound):
                continue
            failure = self._tell(owner, "delete", pod, result) or failure
            if not isinstance(result, ApiError):
                self._expectations.deleted(key_of(owner), pod)
        return failure

    def _tell(self, owner: Object, verb: str, pod: Object, result: Object | ApiError) -> ApiError | None:
        about = f"{verb} Pod {name_of(pod)} in StatefulSet {name_of(owner)}"
        if isinstance(result, ApiError):
            if not in_ending_namespace(result):
                message = f"{about} failed error: {result.message}"
                self.events.event(owner, "Warning", f"Failed{verb.title()}", message)
            return result
        self.events.event(owner, "Normal", f"Successful{verb.title()}", f"{about} successful")
        return None


def _versions(owner: Object, history: History) -> Versions:
    """The update revision is the template's; the current one is what status names, while it is there."""
    name = (owner.get("status") or {}).get("currentRevision")
    current = next((r for r in history.old if name_of(r) == name), history.current)
    return Versions(current, history.current)
