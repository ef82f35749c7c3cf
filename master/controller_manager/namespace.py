"""Ends namespaces: deletes all that is in them, pods first, and then lets them go.

Source: ``pkg/controller/namespace/deletion``. Upstream asks again and again; here the inventory tells when
something in a terminating namespace has gone. Before the end every kind is asked once more, live: the last
word is the server's.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

from apimachinery.client.api import Write
from apimachinery.errors import ApiError, MethodNotAllowed, NotFound
from apimachinery.meta import Key, Object, format_time, is_deleting, name_of, namespace_of, uid_of, with_condition
from apimachinery.scheme import CORE_EVENTS, NAMESPACES, PODS, Kind
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.inventory import Item
from master.controller_manager.status import write_status

_FINALIZER = "kubernetes"
_BATCH = 100
_AGAIN_SECONDS = 5.0  # if nothing is heard of what is left
_COALESCE_SECONDS = 0.02  # many objects go at nearly the same time


def to_delete(items: Iterable[Item]) -> list[Item]:
    """What to delete now: the pods; once there are none, all else. Objects on their way out are left alone."""
    found = list(items)
    pods = [i for i in found if i.kind is PODS]
    return [i for i in pods or found if not is_deleting(i.object)]


def conditions(remaining: Sequence[Item], failures: Sequence[str]) -> list[Object]:
    """The conditions that tell of what is left (without times)."""
    counts = Counter(i.kind.group_resource for i in remaining)
    finalizers = Counter(f for i in remaining for f in i.object["metadata"].get("finalizers") or ())
    left = ", ".join(f"{resource} has {n} resource instances" for resource, n in sorted(counts.items()))
    held = ", ".join(f"{name} in {n} resource instances" for name, n in sorted(finalizers.items()))
    failed = f"Failed to delete all resource types, {len(failures)} remaining: {', '.join(failures)}"
    about = "NamespaceDeletion"
    return [
        _condition(f"{about}DiscoveryFailure", "", "", "ResourcesDiscovered", "All resources successfully discovered"),
        _condition(
            f"{about}GroupVersionParsingFailure",
            "",
            "",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        _condition(
            f"{about}ContentFailure",
            failed if failures else "",
            "ContentDeletionFailed",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        _condition(
            "NamespaceContentRemaining",
            left and f"Some resources are remaining: {left}",
            "SomeResourcesRemain",
            "ContentRemoved",
            "All content successfully removed",
        ),
        _condition(
            "NamespaceFinalizersRemaining",
            held and f"Some content in the namespace has finalizers remaining: {held}",
            "SomeFinalizersRemain",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ]


def _condition(type_: str, problem: str, bad: str, good: str, message: str) -> Object:
    if problem:
        return {"type": type_, "status": "True", "reason": bad, "message": problem}
    return {"type": type_, "status": "False", "reason": good, "message": message}


class NamespaceController(ManagedController):
    name = "namespace-controller"
    workers = 10

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces = context.informers.informer(NAMESPACES)
        self._inventory = context.inventory
        self._inventory.add_listener(self._changed)
        self._namespaces.add_handler(self._namespace_changed)

    def prepare(self) -> None:
        self._inventory.start()

    def _namespace_changed(self, event: str, old: Object | None, new: Object | None) -> None:
        if new is not None and is_deleting(new):
            self.queue.add(("", name_of(new)))

    def _changed(self, kind: Kind, event: str, old: Object | None, new: Object | None) -> None:
        """Something has gone, or appeared late, in a namespace that ends."""
        if event == "MODIFIED":
            return
        namespace = namespace_of(new or old or {})
        current = self._namespaces.store.get("", namespace) if namespace else None
        if current is not None and is_deleting(current):
            self.queue.add_after(("", namespace), _COALESCE_SECONDS)

    async def reconcile(self, key: Key) -> float | None:
        namespace = self._namespaces.store.get(*key)
        if namespace is None or not is_deleting(namespace) or _FINALIZER not in _finalizers(namespace):
            return None
        failures = await self._delete(to_delete(self._inventory.in_namespace(key[1])))
        remaining = list(self._inventory.in_namespace(key[1]))
        if not remaining and not failures:
            remaining = await self._look_again(key[1])
            failures = await self._delete(to_delete(remaining))
        if remaining or failures:
            await self._tell(namespace, conditions(remaining, failures))
            return _AGAIN_SECONDS
        await self._finalize(namespace)
        return None

    async def _delete(self, items: Sequence[Item]) -> list[str]:
        """Delete in batches; returns what went wrong, in words."""
        failures = []
        for start in range(0, len(items), _BATCH):
            batch = items[start : start + _BATCH]
            writes = [
                Write.delete(i.kind, name_of(i.object), namespace_of(i.object), uid=uid_of(i.object)) for i in batch
            ]
            for item, result in zip(batch, await self.client.write(writes), strict=True):
                if isinstance(result, ApiError) and not isinstance(result, NotFound):
                    failures.append(f"{item.kind.group_resource} {name_of(item.object)}: {result.message}")
        return failures

    async def _look_again(self, namespace: str) -> list[Item]:
        """What the server says is there, of every kind, Events included."""
        kinds = [k for k in self._inventory.kinds() if k.namespaced] + [CORE_EVENTS]
        lists = await asyncio.gather(*(self._list(kind, namespace) for kind in kinds))
        return [Item(kind, obj) for kind, found in zip(kinds, lists, strict=True) for obj in found]

    async def _list(self, kind: Kind, namespace: str) -> list[Object]:
        try:
            return (await self.client.list(kind, namespace)).items
        except (NotFound, MethodNotAllowed):  # a kind that has just gone has no objects
            return []

    async def _tell(self, namespace: Object, new: Sequence[Object]) -> None:
        status = namespace.get("status") or {}
        merged = list(status.get("conditions") or ())
        now = format_time(self.clock.now())
        for condition in new:
            merged = with_condition(merged, {**condition, "lastTransitionTime": now})
        wanted = {**status, "phase": "Terminating", "conditions": merged}
        await write_status(self.client, NAMESPACES, namespace, wanted)

    async def _finalize(self, namespace: Object) -> None:
        rest = [f for f in _finalizers(namespace) if f != _FINALIZER]
        spec = {**(namespace.get("spec") or {}), "finalizers": rest}
        try:
            await self.client.update(NAMESPACES, {**namespace, "spec": spec}, subresource="finalize")
        except NotFound:
            return
        self.log.info("Namespace deleted", namespace=name_of(namespace))


def _finalizers(namespace: Object) -> list[str]:
    return (namespace.get("spec") or {}).get("finalizers") or []
