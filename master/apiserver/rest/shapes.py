"""The shapes an answer can have besides the object itself: lists, Table, PartialObjectMetadata(List)."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from apimachinery.errors import BadRequest

from ..registry.reads import Listing
from ..registry.strategy import Column, Strategy
from .negotiation import Wanted

Object = dict[str, Any]
_INCLUDES = ("", "None", "Metadata", "Object")


def object_bytes(strategy: Strategy, data: bytes) -> bytes:
    """Cached bytes as clients of this kind see them; nearly always, as they are."""
    return orjson.dumps(strategy.shown(orjson.loads(data))) if strategy.second_view else data


def list_bytes(strategy: Strategy, listing: Listing) -> bytes:
    """A list as JSON, of the cached bytes of its items."""
    kind = strategy.kind
    items = [e.data for e in listing.entries]
    if strategy.second_view:
        items = [object_bytes(strategy, data) for data in items]
    more = b""
    if listing.continue_token:
        more = b',"continue":"%b"' % listing.continue_token.encode()
        if listing.remaining:
            more += b',"remainingItemCount":%d' % listing.remaining
    head = b'{"kind":"%b","apiVersion":"%b","metadata":{"resourceVersion":"%d"%b},"items":[' % (
        kind.list_kind.encode(),
        kind.api_version.encode(),
        listing.revision,
        more,
    )
    return b"%b%b]}" % (head, b",".join(items))


def list_metadata(listing: Listing) -> Object:
    metadata: Object = {"resourceVersion": str(listing.revision)}
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


def of_listing(strategy: Strategy, wanted: Wanted, listing: Listing, query: Mapping[str, str]) -> Object:
    """A list in the wanted shape."""
    objects = [e.peek() for e in listing.entries]
    if wanted.shape == "Table":
        return _table(strategy, wanted, objects, query, list_metadata(listing))
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": f"meta.k8s.io/{wanted.version}",
        "metadata": list_metadata(listing),
        "items": [partial(o, wanted.version) for o in objects],
    }


def _table(
    strategy: Strategy, wanted: Wanted, objects: Sequence[Object], query: Mapping[str, str], metadata: Object
) -> Object:
    include = query.get("includeObject", "")
    if include not in _INCLUDES:
        raise BadRequest(f'unrecognized includeObject value: "{include}"')
    return table(strategy, objects, metadata, include or "Metadata", wanted.version)


_NAME = Column("Name", "string", lambda o: o["metadata"].get("name", ""), format="name")
_CREATED = Column("Created At", "date", lambda o: o["metadata"].get("creationTimestamp"))


def table(strategy: Strategy, objects: Sequence[Object], metadata: Object, include: str, version: str) -> Object:
    """``meta.k8s.io`` Table of the kind's columns."""
    columns = strategy.columns or (_NAME, _CREATED)
    definitions = [
        {"name": c.name, "type": c.type, "format": c.format, "description": c.description, "priority": c.priority}
        for c in columns
    ]
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": [{"cells": [c.value(o) for c in columns], **_row_object(o, include)} for o in objects],
    }


def _row_object(obj: Object, include: str) -> Object:
    if include == "None":
        return {}
    return {"object": obj if include == "Object" else partial(obj)}


def partial(obj: Object, version: str = "v1") -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": obj["metadata"]}
