"""Kinds that can be read and of which nothing is stored: their objects are made when somebody asks."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from apimachinery import meta
from apimachinery.selectors import FieldSelector, FieldTerm

from ..storage import codec
from ..storage.entry import Entry
from ..storage.keys import local_key
from .reads import Listing
from .selection import Selection

Object = dict[str, Any]

Computed = Callable[[Selection], Awaitable[Iterable[Object]]]
"""All objects that a selection may want: what it does not is left out afterwards."""


async def listing(computed: Computed, selection: Selection) -> Listing:
    """Without a version: such a list is never the same twice."""
    wanted = selection.accept()
    entries = [_entry(obj) for obj in await computed(selection)]
    return Listing([e for e in entries if wanted is None or wanted(e)], 0)


def by_name(namespace: str, name: str) -> Selection:
    return Selection(namespace, fields=FieldSelector((FieldTerm("metadata.name", name),)))


def _entry(obj: Object) -> Entry:
    data = codec.plain(obj)
    entry = Entry(local_key(meta.namespace_of(obj), meta.name_of(obj)), data, 0, {})
    entry.data = data
    return entry
