"""An API server's store in memory, with the semantics that clients rely on.

Kept as the real one has them: versions that grow over all kinds, conflicts, generations, status isolation,
finalizers, graceful deletion of pods, namespace phases, propagation policies, bindings. Left out: schemas,
defaults, admission, authorization. The same contract tests run on this and on the real server.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from apimachinery import errors
from apimachinery.client.types import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH
from apimachinery.clock import Clock, SystemClock
from apimachinery.meta import Key, Object, format_time, key_of, name_suffix, new_uid, with_condition, without_condition
from apimachinery.patch import json_patch, merge
from apimachinery.scheme import BUILTIN, NAMESPACES, PODS, Kind, Scheme

_OWNED = (
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "resourceVersion",
)
_PROPAGATION = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


@dataclass(frozen=True)
class Change:
    version: int
    kind: Kind
    old: Object | None
    new: Object | None


class FakeCluster:
    """``intercept(verb, kind, name, body)`` may raise an ApiError to make a request fail."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.scheme = Scheme(BUILTIN)
        self.version = 1
        self.compacted = 0
        self.log: list[Change] = []
        self.intercept: Callable[[str, Kind, str, Object | None], None] = lambda *_: None
        self.on_change: list[Callable[[Change], None]] = []
        self.on_break: list[Callable[[], None]] = []
        self._objects: dict[Kind, dict[Key, Object]] = {}

    # Reads

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        obj = self._objects.get(kind, {}).get((namespace if kind.namespaced else "", name))
        return copy.deepcopy(obj)

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        obj = self.find(kind, namespace, name)
        if obj is None:
            raise errors.NotFound(f'{kind.group_resource} "{name}" not found', name=name, kind=kind.resource)
        return obj

    def all(self, kind: Kind, namespace: str = "") -> list[Object]:
        found = self._objects.get(kind, {})
        return [copy.deepcopy(found[k]) for k in sorted(found) if not namespace or k[0] == namespace]

    # Faults

    def break_streams(self) -> None:
        """What a restart of the server does to its watchers."""
        for callback in list(self.on_break):
            callback()

    def compact(self) -> None:
        """Forget the history: watches from before now get 410."""
        self.log.clear()
        self.compacted = self.version

    # Writes

    def create(self, kind: Kind, obj: Object, namespace: str = "") -> Object:
        new = copy.deepcopy(obj)
        meta = new.setdefault("metadata", {})
        for field in _OWNED:
            meta.pop(field, None)
        if kind.namespaced:
            meta["namespace"] = meta.get("namespace") or namespace or "default"
        if not meta.get("name"):
            meta["name"] = meta.get("generateName", "") + name_suffix()
        self.intercept("create", kind, meta["name"], new)
        new["apiVersion"], new["kind"] = kind.api_version, kind.kind
        if key_of(new) in self._objects.get(kind, {}):
            raise errors.AlreadyExists(f'{kind.group_resource} "{meta["name"]}" already exists', name=meta["name"])
        meta |= {"uid": new_uid(), "creationTimestamp": self._now(), "generation": 1}
        if kind is NAMESPACES:
            new["spec"] = {"finalizers": ["kubernetes"]}
            new["status"] = {"phase": "Active"}
        if kind is PODS:
            new.setdefault("status", {}).setdefault("phase", "Pending")
        elif "status" in kind.subresources and kind is not NAMESPACES:
            new["status"] = {}
        return self._store(kind, None, new)

    def update(self, kind: Kind, obj: Object, subresource: str = "") -> Object:
        self.intercept("update", kind, obj["metadata"]["name"], obj)
        return self._replace(
            kind, self.get(kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]), obj, subresource
        )

    def patch(
        self, kind: Kind, namespace: str, name: str, patch: Any, patch_type: str, subresource: str = ""
    ) -> Object:
        self.intercept("patch", kind, name, patch)
        old = self.get(kind, namespace, name)
        return self._replace(kind, old, _patched(copy.deepcopy(old), patch, patch_type), subresource)

    def delete(self, kind: Kind, namespace: str, name: str, options: Object | None = None) -> Object:
        options = options or {}
        self.intercept("delete", kind, name, options)
        old = self.get(kind, namespace, name)
        _check_preconditions(kind, old, options.get("preconditions") or {})
        new = copy.deepcopy(old)
        meta = new["metadata"]
        finalizer = _PROPAGATION.get(options.get("propagationPolicy", ""))
        if finalizer and not meta.get("deletionTimestamp"):
            meta["finalizers"] = [*(meta.get("finalizers") or ()), finalizer]
        grace = _grace(kind, old, options)
        if meta.get("deletionTimestamp"):
            meta["deletionGracePeriodSeconds"] = min(grace, meta.get("deletionGracePeriodSeconds") or 0)
        else:
            meta["deletionTimestamp"] = self._now(grace)
            meta["deletionGracePeriodSeconds"] = grace
            meta["generation"] = meta.get("generation", 1) + 1
            if kind is NAMESPACES:
                new["status"] = {**new.get("status", {}), "phase": "Terminating"}
        return self._settle(kind, old, new)

    def bind(self, namespace: str, name: str, node: str, uid: str = "") -> Object:
        old = self.get(PODS, namespace, name)
        if uid and uid != old["metadata"]["uid"]:
            raise errors.Conflict(f'pod "{name}" has another uid')
        if old["spec"].get("nodeName"):
            raise errors.Conflict(f"pod {name} is already assigned to node {old['spec']['nodeName']!r}")
        new = copy.deepcopy(old)
        new["spec"]["nodeName"] = node
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": self._now()}
        new["status"]["conditions"] = [*(new["status"].get("conditions") or ()), scheduled]
        return self._store(PODS, old, new)

    def finish_deletion(self, namespace: str, name: str) -> None:
        """What a node agent does when a pod's containers are gone."""
        self.delete(PODS, namespace, name, {"gracePeriodSeconds": 0})

    # The pipeline

    def _replace(self, kind: Kind, old: Object, obj: Object, subresource: str) -> Object:
        new = copy.deepcopy(obj)
        wanted = new["metadata"].get("resourceVersion")
        if wanted and wanted != old["metadata"]["resourceVersion"]:
            name = old["metadata"]["name"]
            message = "the object has been modified; please apply your changes to the latest version and try again"
            raise errors.Conflict(
                f'Operation cannot be fulfilled on {kind.group_resource} "{name}": {message}', name=name
            )
        if new["metadata"].get("uid") not in {None, old["metadata"]["uid"]}:
            raise errors.Conflict(f"Precondition failed: UID in precondition: {new['metadata']['uid']}")
        new["apiVersion"], new["kind"] = kind.api_version, kind.kind
        for field in _OWNED:
            new["metadata"].pop(field, None)
            if field in old["metadata"]:
                new["metadata"][field] = old["metadata"][field]
        _isolate_status(kind, old, new, subresource)
        if subresource != "status" and _body(old) != _body(new):
            new["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        return self._settle(kind, old, new)

    def _settle(self, kind: Kind, old: Object, new: Object) -> Object:
        """Store ``new``, or remove it if nothing holds it any more."""
        meta = new["metadata"]
        held = meta.get("finalizers") or (kind is NAMESPACES and (new.get("spec") or {}).get("finalizers"))
        if meta.get("deletionTimestamp") and not held and not meta.get("deletionGracePeriodSeconds"):
            return self._store(kind, new, None)
        return self._store(kind, old, new)

    def _store(self, kind: Kind, old: Object | None, new: Object | None) -> Object:
        current = new if new is not None else old
        assert current is not None
        if old is not None and new == old:
            return copy.deepcopy(old)
        self.version += 1
        current["metadata"]["resourceVersion"] = str(self.version)
        objects = self._objects.setdefault(kind, {})
        if new is None:
            del objects[key_of(current)]
        else:
            objects[key_of(current)] = new
        change = Change(self.version, kind, copy.deepcopy(old), copy.deepcopy(new))
        self.log.append(change)
        for callback in list(self.on_change):
            callback(change)
        return copy.deepcopy(current)

    def _now(self, plus_seconds: float = 0) -> str:
        moment = self.clock.now()
        return format_time(moment + timedelta(seconds=plus_seconds))


def _body(obj: Object) -> Object:
    return {k: v for k, v in obj.items() if k not in {"metadata", "status", "apiVersion", "kind"}}


def _isolate_status(kind: Kind, old: Object, new: Object, subresource: str) -> None:
    """A write to /status changes status only; a write to the object leaves status as it was."""
    if subresource == "status":
        for field in [f for f in new if f not in {"metadata", "status"}]:
            del new[field]
        new |= {f: copy.deepcopy(v) for f, v in old.items() if f not in {"metadata", "status"}}
        kept = {f: new["metadata"][f] for f in ("labels", "annotations", "finalizers") if f in new["metadata"]}
        if kind is not PODS and "finalizers" in kept and kept["finalizers"] != old["metadata"].get("finalizers"):
            kept["finalizers"] = old["metadata"].get("finalizers") or []
        new["metadata"] = {**old["metadata"], **kept}
    elif "status" in kind.subresources and subresource != "finalize":
        new.pop("status", None)
        if "status" in old:
            new["status"] = copy.deepcopy(old["status"])


def _grace(kind: Kind, pod: Object, options: Object) -> int:
    """Seconds a deletion waits for: only pods that a node runs are given any."""
    if kind is not PODS or not pod["spec"].get("nodeName") or pod["status"].get("phase") in {"Succeeded", "Failed"}:
        return 0
    asked = options.get("gracePeriodSeconds")
    return int(asked if asked is not None else pod["spec"].get("terminationGracePeriodSeconds", 30))


def _check_preconditions(kind: Kind, obj: Object, wanted: Object) -> None:
    for option, field in (("uid", "uid"), ("resourceVersion", "resourceVersion")):
        if wanted.get(option) and wanted[option] != obj["metadata"][field]:
            name = obj["metadata"]["name"]
            raise errors.Conflict(
                f'Operation cannot be fulfilled on {kind.group_resource} "{name}": Precondition failed'
            )


def _patched(obj: Object, patch: Any, patch_type: str) -> Object:
    if patch_type == JSON_PATCH:
        return json_patch(obj, patch)
    if patch_type == MERGE_PATCH:
        return merge(obj, patch)
    if patch_type == STRATEGIC_MERGE_PATCH:
        return merge(obj, _with_all_conditions(obj, patch))
    raise errors.UnsupportedMediaType(f"unknown patch type {patch_type}")


def _with_all_conditions(obj: Object, patch: Object) -> Object:
    """The patch with its conditions put among those of the object, by type: all that is strategic without a schema."""
    status = patch.get("status") or {}
    conditions = (obj.get("status") or {}).get("conditions") or []
    for condition in status.get("conditions") or ():
        if condition.get("$patch") == "delete":
            conditions = without_condition(conditions, condition["type"])
        else:
            conditions = with_condition(conditions, condition)
    return {**patch, "status": {**status, "conditions": conditions}} if conditions else patch
