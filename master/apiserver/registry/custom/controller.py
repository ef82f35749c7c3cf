"""Follows the CustomResourceDefinitions in the watch cache: accepts their names, serves what is established, and takes
the objects away with a deleted definition.

Level-based: each round looks at all definitions as the cache has them, so that every API server on one etcd comes to
the same, whichever of them was written to.

Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_handler.go``, ``.../pkg/controller/finalizer``.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

from apimachinery import scheme
from apimachinery.errors import ApiError, Conflict, NotFound
from apimachinery.logging import get_logger
from apimachinery.meta import condition_is_true, is_deleting, name_of
from apimachinery.patch import copy
from apimachinery.scheme import Kind

from ...auth.user import LOOPBACK
from ...storage.watcher import Watcher
from ..answers import WriteOptions
from ..deletion import DeleteOptions
from ..kinds.definitions import CLEANUP, set_condition
from ..pipeline import Target
from ..selection import Selection
from ..store import LoopbackWriter, Registry
from .conversion import Call, converter
from .names import settled_status
from .strategy import CustomStrategy
from .views import UNLIMITED, Translation, Views

Object = dict[str, Any]
_log = get_logger(__name__)

CRDS = scheme.kind_of("customresourcedefinitions", "apiextensions.k8s.io")
RETRY_SECONDS = 0.5
_NEVER = 86_400.0
_Served = tuple[Object, Object]


class CustomKinds:
    """``call`` reaches conversion webhooks. Call ``serve`` once before the first request, then ``run``."""

    def __init__(self, registry: Registry, call: Call) -> None:
        self._registry, self._call = registry, call
        self._pipeline, self._reads = registry.pipeline, registry.reads
        self._writer = LoopbackWriter(registry)
        self._builtin = {(k.group, k.version) for k in registry.catalog.scheme}
        self._served: dict[str, _Served] = {}
        self._strategies: dict[str, list[CustomStrategy]] = {}
        self._settled: dict[str, list[str]] = {}
        self._cleaning: set[str] = set()

    async def run(self) -> None:
        """Until cancelled. A watch that the bucket closes, as it does when the server drains, is opened again."""
        bucket = self._reads.bucket(CRDS)
        watcher = Watcher(limit=UNLIMITED)
        bucket.watch(watcher, bucket.revision)
        async with asyncio.TaskGroup() as tasks:
            while True:
                if watcher.closed:
                    watcher = Watcher()
                    bucket.watch(watcher, bucket.revision)
                self.serve()
                settled = await self._settle()
                for definition in self._definitions():
                    name = name_of(definition)
                    if _cleans_up(definition) and name not in self._cleaning:
                        self._cleaning.add(name)
                        tasks.create_task(self._clean_up(name), name=f"clean up {name}")
                await watcher.batch(_NEVER if settled else RETRY_SECONDS)

    def _definitions(self) -> Iterator[Object]:
        return self._reads.list(CRDS)

    # What is served.

    def serve(self) -> None:
        """Serve what the definitions in the cache say, and nothing else."""
        wanted = {name_of(d): d for d in self._definitions() if condition_is_true(d, "Established")}
        for name in self._served.keys() - wanted.keys():
            self._withdraw(name)
            del self._served[name]
        for name, definition in wanted.items():
            state = (definition["spec"], definition["status"].get("acceptedNames") or {})
            if self._served.get(name) != state:
                self._withdraw(name)
                self._served[name] = state
                try:
                    self._install(name, definition)
                except Exception:  # the loop boundary of definitions: others must not suffer from one
                    _log.exception("Cannot serve a definition", name=name)
            for strategy in self._strategies.get(name, ()):
                strategy.terminating = is_deleting(definition)

    def _install(self, name: str, definition: Object) -> None:
        spec = definition["spec"]
        envelope = self._pipeline.schemas.envelope()
        versions = [v for v in spec["versions"] if (spec["group"], v["name"]) not in self._builtin]
        made = {v["name"]: CustomStrategy(custom_kind(definition, v), v, envelope) for v in versions}
        coerce = {s.kind.api_version: s.coerce for s in made.values()}
        convert = converter(definition, self._call)
        reading = {n: Translation(s.kind.api_version, convert, coerce, s.field_labels) for n, s in made.items()}
        storage = next(v["name"] for v in spec["versions"] if v.get("storage"))
        for version in versions:
            strategy = made[version["name"]]
            strategy.reading, strategy.storing = reading[version["name"]], reading[storage]
            self._pipeline.catalog.add(strategy, listed=bool(version.get("served")))
            if version.get("served"):
                self._pipeline.schemas.add(strategy.kind.api_version, strategy.kind.kind, strategy.schema())
        self._strategies[name] = list(made.values())
        if made:
            bucket = self._reads.bucket(next(iter(made.values())).kind)
            if not isinstance(bucket.versions, Views):
                bucket.versions = Views(bucket)
            bucket.versions.serve(reading)

    def _withdraw(self, name: str) -> None:
        for strategy in self._strategies.pop(name, ()):
            kind = strategy.kind
            self._pipeline.catalog.remove(kind)
            self._pipeline.schemas.remove(kind.api_version, kind.kind)
            versions = self._reads.bucket(kind).versions
            if isinstance(versions, Views):
                versions.serve({})

    # What is written.

    async def _settle(self) -> bool:
        """Write each status that is not as it should be; whether that is done."""
        groups: dict[str, list[Object]] = {}
        for definition in self._definitions():
            groups.setdefault(definition["spec"]["group"], []).append(definition)
        done = True
        for group, members in groups.items():
            state = [d["metadata"]["resourceVersion"] for d in members]
            if self._settled.get(group) == state:
                continue
            try:
                settled = await self._settle_group([name_of(d) for d in members])
            except Exception:  # the loop boundary of groups: others must not suffer from one
                _log.exception("Cannot settle the names of a group", group=group)
                settled = True
            if settled:
                self._settled[group] = state
            done &= settled
        return done

    async def _settle_group(self, names: list[str]) -> bool:
        done = True
        for name in names:
            members = [d for n in names if (d := self._reads.get(CRDS, "", n))]
            definition = next((d for d in members if name_of(d) == name), None)
            if definition is None or is_deleting(definition):
                continue
            status = settled_status(definition, [d for d in members if d is not definition])
            if status != definition.get("status"):
                done &= await self._write_status(definition, status)
        return done

    async def _write_status(self, definition: Object, status: Object) -> bool:
        try:
            written = await self._writer.update(CRDS, {**copy(definition), "status": status}, "status")
            await self._reads.reach(
                written["metadata"]["resourceVersion"]
            )  # the next one must see which names are gone
        except (Conflict, NotFound):
            return True  # somebody else has written: the cache will tell
        except ApiError as error:
            _log.warning("Cannot write the status of a definition", name=name_of(definition), error=str(error))
            return False
        return True

    async def _clean_up(self, name: str) -> None:
        """Delete the objects of a deleted definition, then let go of it."""
        try:
            while (definition := self._reads.get(CRDS, "", name)) and _cleans_up(definition):
                try:
                    if await self._delete_objects(definition):
                        kept = [f for f in definition["metadata"]["finalizers"] if f != CLEANUP]
                        freed = copy(definition)
                        freed["metadata"]["finalizers"] = kept
                        await self._writer.update(CRDS, freed)
                        await self._reads.reach("")
                        continue
                except ApiError as error:
                    if not isinstance(error, Conflict | NotFound):
                        _log.warning("Cannot delete the objects of a definition", name=name, error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._cleaning.discard(name)

    async def _delete_objects(self, definition: Object) -> bool:
        """Whether none is left. Raises ApiError."""
        version = next(v for v in definition["spec"]["versions"] if v.get("storage"))
        kind = custom_kind(definition, version)
        bucket = self._reads.bucket(kind)
        if not bucket.entries:
            return True
        await self._registry.delete_collection(LOOPBACK, Target(kind), Selection(), DeleteOptions(), WriteOptions())
        await self._reads.reach("")
        if bucket.entries:
            status = copy(definition["status"])
            told = "CustomResource deletion is in progress"
            set_condition(status, "Terminating", True, "InstanceDeletionInProgress", told)
            if status != definition["status"]:
                await self._write_status(definition, status)
        return not bucket.entries


def _cleans_up(definition: Object) -> bool:
    return is_deleting(definition) and CLEANUP in (definition["metadata"].get("finalizers") or ())


def custom_kind(definition: Object, version: Object) -> Kind:
    """The kind that one version of a definition makes."""
    spec = definition["spec"]
    names = {**spec["names"], **((definition.get("status") or {}).get("acceptedNames") or {})}
    subresources = version.get("subresources") or {}
    return Kind(
        spec["group"],
        version["name"],
        names["kind"],
        spec["names"]["plural"],
        spec["scope"] == "Namespaced",
        tuple(names.get("shortNames") or ()),
        tuple(names.get("categories") or ()),
        tuple(s for s in ("status", "scale") if subresources.get(s) is not None),
        singular=names.get("singular", ""),
        list_kind=names.get("listKind", ""),
    )
