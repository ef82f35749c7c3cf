"""Keeps ``status.used`` of every ResourceQuota what is really in use. Admission does the refusing, by itself.

Source: ``pkg/controller/resourcequota``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from apimachinery import quantity, quota, scheme
from apimachinery.client.informer import EventType
from apimachinery.meta import Key, Object, key_of, namespace_of
from apimachinery.scheme import Kind
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.inventory import NAMESPACE
from master.controller_manager.status import write_status

RESOURCE_QUOTAS = scheme.kind_of("resourcequotas")
# What these use depends on their specs; all others only count.
_MEASURED = (scheme.PODS, scheme.SERVICES, scheme.PERSISTENT_VOLUME_CLAIMS, quota.RESOURCE_CLAIMS)


class ResourceQuotaController(ManagedController):
    name = "resourcequota-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._quotas = context.informers.informer(RESOURCE_QUOTAS)
        self._quotas.add_index(NAMESPACE, lambda o: [namespace_of(o)])
        self._inventory = context.inventory
        for kind in _MEASURED:
            context.informers.informer(kind)
        self.enqueue_object(self._quotas)
        self._inventory.add_listener(self._changed)

    def prepare(self) -> None:
        self._inventory.start()

    def _changed(self, kind: Kind, event: EventType, old: Object | None, new: Object | None) -> None:
        # Only what adds, removes or remeasures: of other kinds an update changes no count.
        if event == "MODIFIED" and kind not in _MEASURED:
            return
        for one in self._quotas.store.by_index(NAMESPACE, namespace_of(new or old or {})):
            self.queue.add(key_of(one))

    async def reconcile(self, key: Key) -> None:
        one = self._quotas.store.get(*key)
        if one is None:
            return
        hard = (one.get("spec") or {}).get("hard") or {}
        status = {"hard": hard, "used": used_status(hard, self._used(one))}
        await write_status(self.client, RESOURCE_QUOTAS, one, status)

    def _used(self, one: Object) -> quota.Usage:
        by_kind: dict[Kind, list[Object]] = {}
        for item in self._inventory.in_namespace(namespace_of(one)):
            by_kind.setdefault(item.kind, []).append(item.object)
        used: quota.Usage = {}
        for kind, objects in by_kind.items():
            used |= quota.total_usage(kind, objects, one)
        return used


def used_status(hard: Mapping[str, str], used: quota.Usage) -> dict[str, str]:
    """An amount for each resource that the quota names, written in the notation of its limit."""
    return dict(_written(hard, used))


def _written(hard: Mapping[str, Any], used: quota.Usage) -> Iterator[tuple[str, str]]:
    for name, limit in hard.items():
        notation: quantity.Format = "BinarySI" if str(limit).endswith("i") else "DecimalSI"
        yield name, quantity.format(used.get(name, quota.ZERO), notation)
