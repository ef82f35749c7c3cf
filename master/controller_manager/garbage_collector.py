"""Deletes what has no owner any more, in the order that the owners' deletion asks for.

Level-based: each object is looked at by itself, with the inventory as the graph. Caches lie, so before an
object is deleted, its owners and the object itself are read from the server, and the deletion names its uid.
A kind that is not served now proves nothing: what refers to it stays.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from apimachinery.client.api import Write
from apimachinery.errors import ApiError, NotFound
from apimachinery.meta import Object, is_deleting, name_of, namespace_of, owner_references, uid_of
from apimachinery.scheme import Kind
from master.controller_manager.frame import BaseController, Context
from master.controller_manager.garbage_plan import (
    FOREGROUND,
    ORPHAN,
    Action,
    OwnerState,
    Verb,
    blocks,
    closes_a_circle,
    finalizers_of,
    is_deleting_in,
    plan,
    state_of_owner,
    unblocked,
)
from master.controller_manager.inventory import Item

_UNKNOWN_SECONDS = 30.0  # until an owner of an unknown kind is looked for again
_BATCH = 100


class Subject(NamedTuple):
    """Which object is looked at."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.group_resource}/{self.namespace}/{self.name}"


class GarbageCollectorController(BaseController[Subject]):
    name = "garbage-collector-controller"
    workers = 20

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._inventory = context.inventory
        self._inventory.add_listener(self._changed)

    def prepare(self) -> None:
        self._inventory.start()

    def _changed(self, kind: Kind, event: str, old: Object | None, new: Object | None) -> None:
        obj = new or old or {}
        if event == "DELETED":
            for item in self._inventory.dependents(uid_of(obj)):
                self._enqueue(item.kind, item.object)
        elif owner_references(obj) or is_deleting(obj):
            self._enqueue(kind, obj)
        for one in (old, new):
            for reference in owner_references(one) if one else ():
                self._enqueue_waiting(one or {}, reference)

    def _enqueue_waiting(self, dependent: Object, reference: Object) -> None:
        """An owner that waits for its dependents has one less to wait for, perhaps."""
        kind = self._inventory.kind_of(reference["apiVersion"], reference["kind"])
        owner = kind and self._inventory.get(kind, namespace_of(dependent), reference["name"])
        if kind and owner and is_deleting_in(owner, FOREGROUND):
            self._enqueue(kind, owner)

    def _enqueue(self, kind: Kind, obj: Object) -> None:
        self.queue.add(Subject(kind, namespace_of(obj), name_of(obj)))

    async def reconcile(self, key: Subject) -> float | None:
        kind, namespace, name = key
        obj = self._inventory.get(kind, namespace, name)
        if obj is None:
            return None
        if is_deleting_in(obj, ORPHAN):
            await self._orphan(kind, obj)
        elif is_deleting_in(obj, FOREGROUND):
            await self._wait_for_dependents(kind, obj)
        elif owner_references(obj) and not is_deleting(obj):
            return await self._collect(kind, obj)
        return None

    async def _orphan(self, kind: Kind, owner: Object) -> None:
        """Take the reference to ``owner`` from every dependent, then let the owner go."""
        items = list(self._inventory.dependents(uid_of(owner)))
        writes = [
            _set_references(i.kind, i.object, [r for r in owner_references(i.object) if r["uid"] != uid_of(owner)])
            for i in items
        ]
        await self._write(writes)
        # The inventory may be behind for kinds of which it has heard nothing: ask for what is there now.
        if not items or not any(uid_of(owner) in _owner_uids(o) for o in await self._live(items)):
            await self._remove_finalizer(kind, owner, ORPHAN)

    async def _live(self, items: Sequence[Item]) -> list[Object]:
        results = await asyncio.gather(*(self._get(i.kind, i.object) for i in items))
        return [r for r in results if r is not None]

    async def _wait_for_dependents(self, kind: Kind, owner: Object) -> None:
        items = list(self._inventory.dependents(uid_of(owner)))
        if any(blocks(i.object, uid_of(owner)) for i in items):
            for item in items:
                if not is_deleting(item.object):
                    self._enqueue(item.kind, item.object)
            return
        await self._remove_finalizer(kind, owner, FOREGROUND)

    async def _collect(self, kind: Kind, obj: Object) -> float | None:
        """Delete ``obj`` or drop references of it, if its owners ask for that."""
        states = {r["uid"]: self._cached_state(kind, obj, r) for r in owner_references(obj)}
        dependents = [i.object for i in self._inventory.dependents(uid_of(obj))]
        if plan(obj, states, dependents).verb is Verb.NOTHING:
            return None
        current = await self._get(kind, obj)
        if current is None or is_deleting(current):
            return None
        live = [self._live_state(kind, current, r) for r in owner_references(current)]
        states = dict(zip((r["uid"] for r in owner_references(current)), await asyncio.gather(*live), strict=True))
        action = plan(current, states, dependents)
        if action.policy == "Foreground" and closes_a_circle(dependents):
            await self._write([_set_references(kind, current, unblocked(owner_references(current)))])
            return 0.0
        return await self._carry_out(kind, current, action)

    async def _carry_out(self, kind: Kind, obj: Object, action: Action) -> float | None:
        if action.verb is Verb.RETRY:
            return _UNKNOWN_SECONDS
        if action.verb is Verb.UPDATE:
            await self._write([_set_references(kind, obj, action.references)])
        elif action.verb is Verb.DELETE:
            version = obj["metadata"]["resourceVersion"]  # an owner added meanwhile must make this fail
            self.log.debug("Deleting", resource=kind.group_resource, object=name_of(obj), policy=action.policy)
            delete = Write.delete(
                kind,
                name_of(obj),
                namespace_of(obj),
                uid=uid_of(obj),
                resource_version=version,
                propagation_policy=action.policy,
            )
            await self._write([delete])
        return None

    def _cached_state(self, kind: Kind, obj: Object, reference: Object) -> OwnerState:
        owner_kind = self._owner_kind(kind, reference)
        if owner_kind is None:
            return OwnerState.UNKNOWN
        return state_of_owner(reference, self._inventory.get(owner_kind, namespace_of(obj), reference["name"]))

    async def _live_state(self, kind: Kind, obj: Object, reference: Object) -> OwnerState:
        """As the server has it now, unless the cache shows the owner alive."""
        cached = self._cached_state(kind, obj, reference)
        owner_kind = self._owner_kind(kind, reference)
        if cached is OwnerState.SOLID or owner_kind is None:
            return cached
        try:
            owner = await self.client.get(owner_kind, reference["name"], namespace_of(obj))
        except NotFound as error:
            # Only a NotFound about this very object says that it is absent; else its kind is not served.
            return OwnerState.ABSENT if error.name == reference["name"] else OwnerState.UNKNOWN
        return state_of_owner(reference, owner)

    def _owner_kind(self, kind: Kind, reference: Object) -> Kind | None:
        """None if the kind is not served, or if it has namespaces and the dependent has none: no such owner."""
        owner_kind = self._inventory.kind_of(reference["apiVersion"], reference["kind"])
        if owner_kind is not None and owner_kind.namespaced and not kind.namespaced:
            return None
        return owner_kind

    async def _get(self, kind: Kind, obj: Object) -> Object | None:
        """The object as it is now; None if it is gone or another has its name."""
        try:
            current = await self.client.get(kind, name_of(obj), namespace_of(obj))
        except NotFound:
            return None
        return current if uid_of(current) == uid_of(obj) else None

    async def _remove_finalizer(self, kind: Kind, obj: Object, finalizer: str) -> None:
        current = await self._get(kind, obj)
        if current is None or finalizer not in finalizers_of(current):
            return
        rest = [f for f in finalizers_of(current) if f != finalizer]
        metadata = {"resourceVersion": current["metadata"]["resourceVersion"], "finalizers": rest or None}
        await self._write([Write.patch(kind, name_of(obj), namespace_of(obj), {"metadata": metadata})])

    async def _write(self, writes: Sequence[Write]) -> None:
        """Write in batches. What is gone is as wanted; a conflict or any other error is raised."""
        for start in range(0, len(writes), _BATCH):
            for result in await self.client.write(writes[start : start + _BATCH]):
                if isinstance(result, ApiError) and not isinstance(result, NotFound):
                    raise result


def _owner_uids(obj: Object) -> set[str]:
    return {r["uid"] for r in owner_references(obj)}


def _set_references(kind: Kind, obj: Object, references: Sequence[Object]) -> Write:
    metadata = {
        "uid": uid_of(obj),
        "resourceVersion": obj["metadata"]["resourceVersion"],
        "ownerReferences": list(references) or None,
    }
    return Write.patch(kind, name_of(obj), namespace_of(obj), {"metadata": metadata})
