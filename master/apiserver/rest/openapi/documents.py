"""Documents put together, and kept where they cost least."""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from apimachinery import scheme
from apimachinery.schema import compile as package
from apimachinery.scheme import Kind

from ...aggregation.documents import Documents, merged
from ...registry.catalog import Catalog
from ...registry.strategy import Strategy
from ...registry.subresources import subresource_kind
from . import definitions as defs
from .custom import Common, Piece, join_v2, join_v3, piece
from .definitions import Version
from .gnostic import encode_document
from .paths import PathWriter

Object = dict[str, Any]

_FORM = 2
"""Raised when the form of the documents changes, so that older ones on disk are not read."""
_V2 = "v2"
_PROTOBUF = "v2.pb"


def group_path(kind: Kind) -> str:
    """``api/v1`` or ``apis/apps/v1``: what a document of version 3 is called."""
    return f"apis/{kind.api_version}" if kind.group else f"api/{kind.version}"


class OpenApi:
    """Documents by name: ``v2``, and group paths for version 3.

    ``computed`` are kinds that are always served, though nothing of them is stored and they have no schema;
    ``aggregated`` are the documents of other servers.
    """

    def __init__(self, catalog: Catalog, computed: Iterable[Kind] = (), aggregated: Documents | None = None) -> None:
        self._catalog = catalog
        self._aggregated = aggregated or Documents()
        self._fixed = frozenset((*scheme.KINDS, *computed))
        self._builtin = BuiltinDocuments((*scheme.KINDS, *computed))
        self._common: Common | None = None
        self._pieces: dict[Strategy, tuple[Piece, Piece]] = {}
        self._made: dict[str, bytes] = {}
        self._hashes: dict[str, str] = {}
        self._revision = (0, 0)
        self._lock = asyncio.Lock()

    async def hashes(self) -> Mapping[str, str]:
        """The hash of each document; whoever has one of that name and hash need not ask again."""
        await self._refresh()
        return self._hashes

    async def document(self, name: str) -> bytes | None:
        await self._refresh()
        return self._made.get(name) or self._builtin.read(name)

    async def protobuf(self) -> bytes:
        """Version 2 as gnostic's protobuf, encoded when first asked for and kept where its JSON is."""
        await self._refresh()
        async with self._lock:
            return await asyncio.to_thread(self._protobuf)

    def _protobuf(self) -> bytes:
        if _V2 not in self._made:
            return self._builtin.protobuf()
        if _PROTOBUF not in self._made and self._aggregated.openapi_v2():
            self._made[_PROTOBUF] = encode_document(orjson.loads(self._made[_V2]))
        elif _PROTOBUF not in self._made:
            # Messages are merged by putting one behind the other.
            own = [
                encode_document({"paths": _members(p.paths), "definitions": _members(p.schemas)})
                for p, _ in self._pieces.values()
            ]
            self._made[_PROTOBUF] = b"".join([self._builtin.protobuf(), *own])
        return self._made[_PROTOBUF]

    async def _refresh(self) -> None:
        async with self._lock:
            revision = self._catalog.revision, self._aggregated.revision
            if revision != self._revision:
                custom = [self._catalog.strategy(k) for k in self._catalog.scheme if k not in self._fixed]
                await asyncio.to_thread(self._make, custom)
                self._revision = revision

    def _make(self, custom: Sequence[Strategy]) -> None:
        self._hashes = dict(self._builtin.hashes())
        self._pieces = {s: self._pieces.get(s) or self._make_pieces(s) for s in custom}
        self._made = {}
        if custom:
            groups: dict[str, list[Piece]] = {}
            for strategy, (_, piece) in self._pieces.items():
                groups.setdefault(group_path(strategy.kind), []).append(piece)
            self._made = {name: join_v3(pieces, self._shared()) for name, pieces in groups.items()}
            self._made[_V2] = join_v2(self._builtin.read(_V2) or b"", [p for p, _ in self._pieces.values()])
        if others := self._aggregated.openapi_v2():
            self._made[_V2] = merged(self._made.get(_V2) or self._builtin.read(_V2) or b"{}", others)
        self._made.update(self._aggregated.openapi_v3())
        self._hashes.update({name: _hash(content) for name, content in self._made.items()})

    def _make_pieces(self, strategy: Strategy) -> tuple[Piece, Piece]:
        return piece(strategy, "v2", self._shared()), piece(strategy, "v3", self._shared())

    def _shared(self) -> Common:
        if self._common is None:
            self._common = Common()
        return self._common


def _members(inside: bytes) -> Object:
    members: Object = orjson.loads(b"{%b}" % inside)
    return members


class BuiltinDocuments:
    """The documents of kinds that do not change, on disk if that can be, else in memory."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds = tuple(kinds)
        table = f"{_FORM} {self._kinds!r}".encode()
        self._directory = f"documents-{hashlib.sha256(table).hexdigest()[:12]}"
        self._hashes: dict[str, str] = {}
        self._kept: dict[str, bytes] = {}

    def hashes(self) -> Mapping[str, str]:
        if not self._hashes:
            try:
                self._hashes = orjson.loads(self._path("index").read_bytes())
            except (OSError, ValueError):
                self._make()
        return self._hashes

    def read(self, name: str) -> bytes | None:
        if name not in self.hashes():
            return None
        if name in self._kept:
            return self._kept[name]
        try:
            return self._path(name).read_bytes()
        except OSError:  # somebody cleaned the cache under us
            self._make()
            return self._kept.get(name) or self._path(name).read_bytes()

    def protobuf(self) -> bytes:
        """The v2 document as protobuf."""
        if _PROTOBUF in self._kept:
            return self._kept[_PROTOBUF]
        try:
            return self._path(_PROTOBUF).read_bytes()
        except OSError:
            content = encode_document(orjson.loads(self.read(_V2) or b"{}"))
            self._keep(_PROTOBUF, content)
            return content

    def _path(self, name: str) -> Path:
        file = name if name == _PROTOBUF else f"{name.replace('/', '_')}.json"
        return package.cache_path(f"{self._directory}/{file}")

    def _keep(self, name: str, content: bytes) -> None:
        package.write_cache(self._path(name), content)
        if not self._path(name).exists():
            self._kept[name] = content

    def _make(self) -> None:
        made = builtin_documents(definitions_of(self._kinds), self._kinds)
        self._hashes = {name: _hash(content) for name, content in made.items()}
        for name, content in made.items():
            self._keep(name, content)
        package.write_cache(self._path("index"), orjson.dumps(self._hashes))


def _hash(content: bytes) -> str:
    return hashlib.sha512(content).hexdigest()[:128].upper()


def definitions_of(kinds: Iterable[Kind]) -> package.Definitions:
    """The package's definitions, and those of the kinds that it does not have."""
    definitions = package.definitions()
    for kind in kinds:
        if scheme.BUILTIN.by_kind(kind.api_version, kind.kind) is None:
            definitions |= defs.computed(kind)
    return definitions


def builtin_documents(definitions: package.Definitions, kinds: Iterable[Kind]) -> dict[str, bytes]:
    """Every document of the built-in kinds, by name."""
    groups: dict[str, list[Kind]] = {}
    for kind in kinds:
        groups.setdefault(group_path(kind), []).append(kind)
    made = {name: document("v3", of, definitions) for name, of in groups.items()}
    made[_V2] = document("v2", [k for of in groups.values() for k in of], definitions)
    return made


def document(version: Version, kinds: Iterable[Kind], definitions: package.Definitions) -> bytes:
    """One OpenAPI document with the paths of ``kinds`` and all definitions that they need."""
    names = defs.names_by_kind(definitions)
    writer = PathWriter(version, names, subresource_kind)
    paths: dict[str, Object] = {}
    for kind in kinds:
        paths |= writer.paths(kind)
    prefix = defs.REFERENCE[version]
    wanted = {r.removeprefix(prefix) for r in _all_references(paths)}
    schemas = {n: defs.convert(n, definitions[n], version) for n in defs.reachable(wanted, definitions)}
    info = {"title": "Kubernetes", "version": "v1.36.0"}
    if version == "v2":
        return orjson.dumps({"swagger": "2.0", "info": info, "paths": paths, "definitions": schemas})
    return orjson.dumps({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}})


def _all_references(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for member in value.values():
            yield from _all_references(member)
    elif isinstance(value, list):
        for member in value:
            yield from _all_references(member)
