"""Interned columns of the snapshot: a value of each node as a small integer, so that NumPy can compare it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Object = dict[str, Any]
ABSENT = -1


class LabelColumn:
    """One label of every node. ``ids[row]`` indexes ``values``, or is ABSENT where a node lacks the label.

    Topology domains are the same thing: nodes with equal ids are in one domain of this key.
    """

    def __init__(self, capacity: int) -> None:
        self.ids: NDArray[np.int64] = np.full(capacity, ABSENT, np.int64)
        self.values: list[str] = []
        self._index: dict[str, int] = {}

    def put(self, row: int, value: str | None) -> None:
        self.ids[row] = ABSENT if value is None else self._intern(value)

    def id_of(self, value: str) -> int:
        """The id of a value; one that no node ever had gets -2, which equals no row's id."""
        return self._index.get(value, ABSENT - 1)

    def grow(self, capacity: int) -> None:
        self.ids = np.concatenate([self.ids, np.full(capacity - len(self.ids), ABSENT, np.int64)])

    def _intern(self, value: str) -> int:
        number = self._index.get(value)
        if number is None:
            number = self._index[value] = len(self.values)
            self.values.append(value)
        return number


class ImageColumn:
    """Which nodes hold one image name. ``bytes`` is its size as the last node told it."""

    def __init__(self, capacity: int) -> None:
        self.bytes = 0
        self.present: NDArray[np.bool_] = np.zeros(capacity, np.bool_)

    def grow(self, capacity: int) -> None:
        self.present = np.concatenate([self.present, np.zeros(capacity - len(self.present), np.bool_)])


Taint = tuple[str, str, str]  # key, value, effect
TaintSet = tuple[Taint, ...]


def taint_set(node: Mapping[str, object]) -> TaintSet:
    """The taints of a node in its own order: the first untolerated one is the one that is named."""
    spec = node.get("spec")
    taints = spec.get("taints") if isinstance(spec, dict) else None
    return tuple((t.get("key", ""), t.get("value") or "", t.get("effect", "")) for t in taints or ())


def set_images(columns: dict[str, ImageColumn], capacity: int, row: int, old: Object, new: Object) -> None:
    """Take over the images that a node reports; columns of names not seen before are made."""
    before, after = _images(old), _images(new)
    if before == after:
        return
    for name in (name for image in before for name in image.get("names") or ()):
        columns[name].present[row] = False
    for image in after:
        for name in image.get("names") or ():
            if (column := columns.get(name)) is None:
                column = columns[name] = ImageColumn(capacity)
            column.present[row], column.bytes = True, int(image.get("sizeBytes") or 0)


def _images(node: Object) -> list[Object]:
    return (node.get("status") or {}).get("images") or []
