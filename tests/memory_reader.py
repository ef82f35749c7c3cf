"""A ``Reader`` over a dict, for tests of what reads the watch cache."""

import uuid
from collections.abc import Callable, Iterable
from typing import Any

from apimachinery.scheme import Kind

Object = dict[str, Any]


class MemoryReader:
    def __init__(self) -> None:
        self._objects: dict[Kind, dict[tuple[str, str], Object]] = {}
        self._versions: dict[Kind, int] = {}
        self._listeners: dict[Kind, list[Callable[[], None]]] = {}

    def put(self, kind: Kind, obj: Object) -> Object:
        meta = obj.setdefault("metadata", {})
        meta.setdefault("uid", str(uuid.uuid4()))
        self._objects.setdefault(kind, {})[meta.get("namespace", ""), meta["name"]] = obj
        self._changed(kind)
        return obj

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        del self._objects[kind][namespace, name]
        self._changed(kind)

    def _changed(self, kind: Kind) -> None:
        self._versions[kind] = self._versions.get(kind, 0) + 1
        for listener in self._listeners.get(kind, ()):
            listener()

    def on_change(self, kind: Kind, listener: Callable[[], None]) -> None:
        self._listeners.setdefault(kind, []).append(listener)

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self._objects.get(kind, {}).get((namespace, name))

    def list(self, kind: Kind, namespace: str = "") -> Iterable[Object]:
        return [o for (ns, _), o in self._objects.get(kind, {}).items() if not namespace or ns == namespace]

    def version(self, kind: Kind) -> int:
        return self._versions.get(kind, 0)

    async def get_consistent(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self.get(kind, namespace, name)

    # What the bootstrap writes through.
    async def create(self, kind: Kind, obj: Object) -> Object:
        return self.put(kind, obj)

    async def update(self, kind: Kind, obj: Object) -> Object:
        return self.put(kind, obj)
