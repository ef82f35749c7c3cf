"""Which pods a pod should be spread among when it does not say so itself: its Services and its owner's selector.

Source: upstream's ``helper.DefaultSelector``.
"""

from collections.abc import Mapping
from typing import Any

from apimachinery.selectors import LabelSelector, from_map, from_object
from master.scheduler.shape import PodShape

Object = dict[str, Any]
OWNER_KINDS = ("ReplicationController", "ReplicaSet", "StatefulSet")


class Peers:
    """Selectors of Services and pod owners, by namespace."""

    def __init__(self) -> None:
        self._services: dict[str, dict[str, Mapping[str, str]]] = {}
        self._owners: dict[tuple[str, str, str], Object] = {}
        self._selectors: dict[tuple[tuple[str, bytes], tuple[str, str] | None], LabelSelector | None] = {}

    def set_service(self, namespace: str, name: str, selector: Mapping[str, str] | None) -> None:
        """A Service's selector; None: it is gone or selects nothing."""
        known = self._services.setdefault(namespace, {})
        if known.get(name) == (selector or None):
            return
        if selector:
            known[name] = selector
        else:
            known.pop(name, None)
        self._selectors.clear()

    def set_owner(self, namespace: str, kind: str, name: str, selector: Object | None) -> None:
        """The ``spec.selector`` of a pod owner of OWNER_KINDS; None: it is gone."""
        key = (namespace, kind, name)
        if self._owners.get(key) == selector:
            return
        if selector is None:
            del self._owners[key]
        else:
            self._owners[key] = selector
        self._selectors.clear()

    def selector(self, shape: PodShape) -> LabelSelector | None:
        """What the peers of a pod match, or None if it has none."""
        key = (shape.population, shape.owner)
        if key not in self._selectors:
            if len(self._selectors) > 10_000:
                self._selectors.clear()
            self._selectors[key] = self._find(shape)
        return self._selectors[key]

    def _find(self, shape: PodShape) -> LabelSelector | None:
        labels: dict[str, str] = {}
        for selector in self._services.get(shape.namespace, {}).values():
            if selector.items() <= shape.labels.items():
                labels.update(selector)
        kind, name = shape.owner or ("", "")
        owned = self._owners.get((shape.namespace, kind, name))
        if owned is not None and kind == "ReplicationController":
            labels.update(owned)
        parts = from_map(labels).requirements if labels else ()
        if owned is not None and kind != "ReplicationController":
            parts = (*parts, *from_object(owned).requirements)
        return LabelSelector(parts) if parts else None
