"""Everything that is in the cluster, as metadata: what garbage collection and namespace deletion look at.

One informer a kind, built-in and custom. Where another controller holds whole objects of a kind, that informer
is shared; of all other kinds only metadata is kept. Kinds come and go with their CustomResourceDefinitions.

Left out: Events, which nobody owns and which run out by themselves.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from apimachinery.client.informer import EventType, Informer, InformerFactory
from apimachinery.meta import Object, condition_is_true, namespace_of, owner_references
from apimachinery.scheme import BUILTIN, CORE_EVENTS, EVENTS, Kind, kind_of

CRDS = kind_of("customresourcedefinitions", "apiextensions.k8s.io")

OWNER, NAMESPACE = "owner", "in-namespace"
_KEPT = ("name", "namespace", "uid", "resourceVersion", "ownerReferences", "finalizers", "deletionTimestamp")
_SEPARATE = {CORE_EVENTS.group_resource, *(k.group_resource for k in EVENTS)}

Listener = Callable[[Kind, EventType, Object | None, Object | None], None]


@dataclass(frozen=True, slots=True)
class Item:
    """One object, and of what kind it is."""

    kind: Kind
    object: Object


def metadata_only(obj: Object) -> Object:
    metadata = obj["metadata"]
    kept = {k: metadata[k] for k in _KEPT if k in metadata}
    return {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": kept}


def custom_kind(crd: Mapping[str, Any]) -> Kind | None:
    """The kind that a CustomResourceDefinition makes; None while it is not established."""
    if not condition_is_true(crd, "Established"):
        return None
    spec = crd["spec"]
    served = [v["name"] for v in spec["versions"] if v.get("served")]
    if not served:
        return None
    stored = next((v["name"] for v in spec["versions"] if v.get("storage")), "")
    version = stored if stored in served else served[0]  # the stored one needs no conversion webhook, which may be away
    namespaced = spec.get("scope") == "Namespaced"
    return Kind(spec["group"], version, spec["names"]["kind"], spec["names"]["plural"], namespaced)


class Inventory:
    """``start`` it once all controllers have taken the informers they need whole."""

    def __init__(self, informers: InformerFactory) -> None:
        self._factory = informers
        self._informers: dict[tuple[str, str], Informer] = {}  # by group and kind
        self._crds: dict[str, Kind] = {}  # by the CRD's name
        self._listeners: list[Listener] = []
        self._started = False

    def add_listener(self, listener: Listener) -> None:
        """To be called with every change of every object. Add it before ``start``."""
        self._listeners.append(listener)

    def start(self) -> None:
        if self._started:
            return
        self._started = True
        for kind in BUILTIN:
            preferred = BUILTIN.by_resource(kind.group, "", kind.resource) is kind
            if kind.stored and preferred and kind.group_resource not in _SEPARATE:
                self._add(kind)
        self._factory.informer(CRDS).add_handler(self._crd_changed)

    def _add(self, kind: Kind) -> None:
        informer = self._factory.existing(kind) or self._factory.informer(kind, transform=metadata_only)
        informer.add_index(OWNER, lambda o: [r["uid"] for r in owner_references(o)])
        informer.add_index(NAMESPACE, lambda o: [namespace_of(o)])
        self._informers[kind.group, kind.kind] = informer
        informer.add_handler(lambda event, old, new: self._tell(kind, event, old, new))

    def _tell(self, kind: Kind, event: EventType, old: Object | None, new: Object | None) -> None:
        for listener in self._listeners:
            listener(kind, event, old, new)

    def _crd_changed(self, event: EventType, old: Object | None, new: Object | None) -> None:
        crd = new or old or {}
        name = crd["metadata"]["name"]
        kind = custom_kind(crd) if event != "DELETED" else None
        if kind == self._crds.get(name):
            return
        gone = self._crds.pop(name, None)
        if gone is not None:
            self._factory.drop(self._informers.pop((gone.group, gone.kind)))
        if kind is not None:
            self._crds[name] = kind
            self._add(kind)

    def kinds(self) -> list[Kind]:
        return [i.kind for i in self._informers.values()]

    def kind_of(self, api_version: str, kind: str) -> Kind | None:
        """The kind that a reference names, whatever its version; None if there is none now."""
        group = api_version.rpartition("/")[0]
        informer = self._informers.get((group, kind))
        return informer.kind if informer is not None else None

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        informer = self._informers.get((kind.group, kind.kind))
        return informer.store.get(namespace if kind.namespaced else "", name) if informer is not None else None

    def dependents(self, uid: str) -> Iterator[Item]:
        """Every object with an owner reference to ``uid``."""
        return self._found(OWNER, uid)

    def in_namespace(self, namespace: str) -> Iterator[Item]:
        return self._found(NAMESPACE, namespace)

    def _found(self, index: str, value: str) -> Iterator[Item]:
        for informer in self._informers.values():
            for obj in informer.store.by_index(index, value):
                yield Item(informer.kind, obj)
