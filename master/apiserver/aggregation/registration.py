"""APIServices for what this server answers for itself: the built-in group versions, and those of definitions.

Source: ``k8s.io/kube-aggregator/pkg/controllers/autoregister``, ``k8s.io/kubernetes/pkg/controlplane/apiserver``.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from apimachinery import meta, scheme
from apimachinery.errors import AlreadyExists, ApiError
from apimachinery.logging import get_logger

from ..registry.catalog import Catalog
from ..registry.deletion import DeleteOptions
from ..registry.reads import Reads
from ..registry.store import LoopbackWriter
from ..storage.watcher import Watcher
from .table import API_SERVICES, service_of

Object = dict[str, Any]
_log = get_logger(__name__)
AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
ON_START, ALWAYS = "onstart", "true"
DEFINITIONS = scheme.kind_of("customresourcedefinitions", "apiextensions.k8s.io")
RESYNC_SECONDS = 600.0
RETRY_SECONDS = 5.0
_OWN_GROUP = "apiregistration.k8s.io"
_CUSTOM_PRIORITY = (1000, 100)
_ADDED_PRIORITY = (100, 100)
"""Of groups that upstream has by add-ons: metrics."""
_GROUP_PRIORITIES = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "resource.k8s.io": 15900,
}
_VERSION_PRIORITIES = {("", "v1"): 1, ("autoscaling", "v2"): 30, ("flowcontrol.apiserver.k8s.io", "v1"): 21}


def group_priority(group: str, added: bool) -> int:
    """Which of two groups that are answered here comes first in discovery: the one of the higher priority. ``added``:
    it is served without a definition."""
    if group == _OWN_GROUP:
        return _GROUP_PRIORITIES[""]
    return _GROUP_PRIORITIES.get(group, _ADDED_PRIORITY[0] if added else _CUSTOM_PRIORITY[0])


def builtin(catalog: Catalog) -> Iterator[Object]:
    """APIServices of the group versions that are served from the start."""
    for group, version in dict.fromkeys((k.group, k.version) for k in catalog.scheme):
        if group == _OWN_GROUP:
            continue
        priority = _GROUP_PRIORITIES.get(group)
        added = _ADDED_PRIORITY if priority is None else (priority, _VERSION_PRIORITIES.get((group, version), 15))
        yield local(group, version, added, ON_START)


def of_definitions(definitions: Iterable[Object]) -> Iterator[Object]:
    """APIServices of the versions that custom resource definitions serve."""
    served = dict.fromkeys(
        (spec.get("group", ""), version["name"])
        for spec in (d.get("spec") or {} for d in definitions)
        for version in spec.get("versions") or ()
        if version.get("served")
    )
    for group, version in served:
        yield local(group, version, _CUSTOM_PRIORITY, ALWAYS)


def local(group: str, version: str, priority: tuple[int, int], managed: str) -> Object:
    spec: Object = {"version": version, "groupPriorityMinimum": priority[0], "versionPriority": priority[1]}
    if group:
        spec["group"] = group
    metadata = {"name": f"{version}.{group}", "labels": {AUTOMANAGED: managed}}
    return {"apiVersion": API_SERVICES.api_version, "kind": API_SERVICES.kind, "metadata": metadata, "spec": spec}


def changes(wanted: Mapping[str, Object], have: Mapping[str, Object]) -> tuple[list[Object], list[str]]:
    """What to create and the names of what to delete, so that definitions have their APIServices. What somebody has
    taken over, by removing the label or by naming a Service, is left alone. Pure."""
    made = [w for name, w in wanted.items() if name not in have]
    gone = [
        name
        for name, one in have.items()
        if name not in wanted
        and service_of(one) is None
        and (one["metadata"].get("labels") or {}).get(AUTOMANAGED) == ALWAYS
    ]
    return made, gone


class Registration:
    def __init__(self, reads: Reads, writer: LoopbackWriter, catalog: Catalog) -> None:
        self._reads, self._writer = reads, writer
        self._builtin = {meta.name_of(a): a for a in builtin(catalog)}

    async def run(self) -> None:
        watcher = Watcher()
        for kind in (API_SERVICES, DEFINITIONS):
            bucket = self._reads.bucket(kind)
            bucket.watch(watcher, bucket.revision)
        have = {meta.name_of(a) for a in self._reads.list(API_SERVICES)}
        settled = await self._apply([a for name, a in self._builtin.items() if name not in have], [])
        while not watcher.closed:
            settled = await self._reconcile() and settled
            await watcher.batch(RESYNC_SECONDS if settled else RETRY_SECONDS)
            watcher.take()
            settled = True

    async def _reconcile(self) -> bool:
        wanted = {meta.name_of(a): a for a in of_definitions(self._reads.list(DEFINITIONS))}
        have = {meta.name_of(a): a for a in self._reads.list(API_SERVICES)}
        return await self._apply(*changes(wanted, have))

    async def _apply(self, made: list[Object], gone: list[str]) -> bool:
        """Whether all went well."""
        work = [self._create(a) for a in made] + [self._delete(name) for name in gone]
        return all(await asyncio.gather(*work))

    async def _create(self, api_service: Object) -> bool:
        try:
            await self._writer.create(API_SERVICES, api_service)
        except AlreadyExists:
            return True  # another API server of this cluster was faster
        except ApiError as error:
            _log.warning("An APIService was not made", name=meta.name_of(api_service), error=str(error))
            return False
        return True

    async def _delete(self, name: str) -> bool:
        try:
            await self._writer.delete(API_SERVICES, "", name, DeleteOptions())
        except ApiError as error:
            if error.status_code != 404:
                _log.warning("An APIService was not deleted", name=name, error=str(error))
                return False
        return True
