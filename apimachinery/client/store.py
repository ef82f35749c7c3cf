"""Objects by key and by any number of indexes: what an informer fills and everyone reads."""

from collections.abc import Callable, Iterable

from apimachinery.meta import Key, Object, key_of

Objects = list[Object]
Keys = list[Key]
IndexFunction = Callable[[Object], Iterable[str]]


class _Index:
    def __init__(self, function: IndexFunction) -> None:
        self.function = function
        self.keys: dict[str, set[Key]] = {}

    def add(self, key: Key, obj: Object) -> None:
        for value in self.function(obj):
            self.keys.setdefault(value, set()).add(key)

    def remove(self, key: Key, obj: Object) -> None:
        for value in self.function(obj):
            keys = self.keys.get(value)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self.keys[value]


class Store:
    """Objects by (namespace, name), and by any index. Read only for all but its informer."""

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._indexes: dict[str, _Index] = {}

    def get(self, namespace: str, name: str) -> Object | None:
        return self._objects.get((namespace, name))

    def list(self) -> Objects:
        return list(self._objects.values())

    def keys(self) -> Keys:
        return list(self._objects)

    def __len__(self) -> int:
        return len(self._objects)

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Index objects by every value that ``function`` gives for them. The same name twice does nothing."""
        if name not in self._indexes:
            index = self._indexes[name] = _Index(function)
            for key, obj in self._objects.items():
                index.add(key, obj)

    def by_index(self, name: str, value: str) -> Objects:
        """The objects whose index ``name`` has ``value``. Raises KeyError for an index that was never added."""
        return [self._objects[key] for key in self._indexes[name].keys.get(value, ())]

    def put(self, obj: Object) -> Object | None:
        """Store ``obj``; returns what it replaced."""
        key = key_of(obj)
        old = self._objects.get(key)
        for index in self._indexes.values():
            if old is not None:
                index.remove(key, old)
            index.add(key, obj)
        self._objects[key] = obj
        return old

    def remove(self, key: Key) -> Object | None:
        old = self._objects.pop(key, None)
        if old is not None:
            for index in self._indexes.values():
                index.remove(key, old)
        return old
