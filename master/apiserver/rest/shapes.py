"""The shapes an answer can have besides the object itself: lists, Table, PartialObjectMetadata(List)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from apimachinery.errors import BadRequest

from ..registry.reads import Listing
from ..registry.strategy import Column, Strategy
from .negotiation import Wanted

Object = dict[str, Any]
PIECE = 256 * 1024
"""Bytes of a list that are joined, encrypted and sent before others get their turn."""
_INCLUDES = ("", "None", "Metadata", "Object")


def list_pieces(
    strategy: Strategy, wanted: Wanted, listing: Listing, query: Mapping[str, str]
) -> tuple[Iterator[bytes], int]:
    """A list as JSON in the wanted shape, piece by piece: plain, of the cached bytes of its items. And how many bytes
    these are, 0 if that is not known before they are made."""
    entries, shape = listing.entries, wanted.shape
    kind = strategy.kind
    head: Object = {"kind": shape or f"{kind.kind}List"}
    head["apiVersion"] = f"meta.k8s.io/{wanted.version}" if shape else kind.api_version
    head["metadata"] = list_metadata(listing)
    name, size = "items", 0
    if shape == "Table":
        name, include = "rows", _include(query)
        columns = _columns(strategy)
        head["columnDefinitions"] = _definitions(columns)
        items = (orjson.dumps(_row(columns, e.peek(), include)) for e in entries)
    elif shape:
        items = (orjson.dumps(partial(e.peek(), wanted.version)) for e in entries)
    elif strategy.second_view:
        items = (strategy.shown_bytes(e.data) for e in entries)
    else:
        items = (e.data for e in entries)
        size = sum([len(e.data) for e in entries]) + max(len(entries) - 1, 0) + len(b"]}")
    opening = b'%b,"%b":[' % (orjson.dumps(head)[:-1], name.encode())
    return _pieces(opening, items), size and len(opening) + size


def _pieces(head: bytes, items: Iterable[bytes]) -> Iterator[bytes]:
    batch: list[bytes] = []
    size = 0
    for item in items:
        batch.append(item)
        size += len(item)
        if size >= PIECE:
            yield head + b",".join(batch)
            batch, size, head = [], 0, b","
    yield b"%b%b]}" % (head if batch or head != b"," else b"", b",".join(batch))


def list_metadata(listing: Listing) -> Object:
    metadata: Object = {"resourceVersion": str(listing.revision)} if listing.revision else {}
    if listing.continue_token:
        metadata["continue"] = listing.continue_token
        if listing.remaining:
            metadata["remainingItemCount"] = listing.remaining
    return metadata


def of_object(strategy: Strategy, wanted: Wanted, obj: Object, query: Mapping[str, str]) -> Object:
    """One object in the wanted shape."""
    if wanted.shape == "Table":
        version = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return _table(strategy, wanted, [obj], query, version)
    if wanted.shape == "PartialObjectMetadataList":
        raise BadRequest("PartialObjectMetadataList is the shape of a list, not of one object")
    return partial(obj, wanted.version)


def _table(
    strategy: Strategy, wanted: Wanted, objects: Sequence[Object], query: Mapping[str, str], metadata: Object
) -> Object:
    include, columns = _include(query), _columns(strategy)
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{wanted.version}",
        "metadata": metadata,
        "columnDefinitions": _definitions(columns),
        "rows": [_row(columns, o, include) for o in objects],
    }


def _include(query: Mapping[str, str]) -> str:
    """Raises BadRequest."""
    include = query.get("includeObject", "")
    if include not in _INCLUDES:
        raise BadRequest(f'unrecognized includeObject value: "{include}"')
    return include or "Metadata"


_NAME = Column("Name", "string", lambda o: o["metadata"].get("name", ""), format="name")
_CREATED = Column("Created At", "date", lambda o: o["metadata"].get("creationTimestamp"))


def _columns(strategy: Strategy) -> Sequence[Column]:
    return strategy.columns or (_NAME, _CREATED)


def _definitions(columns: Sequence[Column]) -> list[Object]:
    return [
        {"name": c.name, "type": c.type, "format": c.format, "description": c.description, "priority": c.priority}
        for c in columns
    ]


def _row(columns: Sequence[Column], obj: Object, include: str) -> Object:
    return {"cells": [c.value(obj) for c in columns], **_row_object(obj, include)}


def _row_object(obj: Object, include: str) -> Object:
    if include == "None":
        return {}
    return {"object": obj if include == "Object" else partial(obj)}


def partial(obj: Object, version: str = "v1") -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": obj["metadata"]}
