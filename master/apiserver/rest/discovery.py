"""Discovery: which groups, versions and resources there are; the classic documents and the aggregated one.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api, KEP-3352 (aggregated discovery).
"""

import base64
import hashlib
import itertools
import re
from collections.abc import Iterable
from typing import Any

import orjson

from apimachinery.scheme import Kind

from ..aggregation.documents import Documents, aggregated_resources
from ..aggregation.registration import group_priority
from ..aggregation.table import ApiServices, group_version, is_available
from ..registry.catalog import Catalog
from ..registry.subresources import subresource_kind
from ..storage.keys import bucket_of
from . import negotiation
from .request import Request
from .resources import unknown_path
from .respond import send_bytes, send_object

Object = dict[str, Any]
State = tuple[int, int, int]

_AGGREGATED = "APIGroupDiscoveryList"


class Discovery:
    """Documents are made once for each state of the catalog."""

    def __init__(self, catalog: Catalog, table: ApiServices, documents: Documents, address: str) -> None:
        """``address``: host and port where clients from anywhere reach this server."""
        self._catalog, self._table, self._documents = catalog, table, documents
        self._addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
        self._made: dict[str, tuple[State, bytes, bytes]] = {}

    @property
    def _state(self) -> State:
        return self._catalog.revision, self._table.version, self._documents.revision

    async def __call__(self, request: Request) -> None:
        """``/api``, ``/apis`` and below, as far as they name no resource."""
        if request.method not in ("GET", "HEAD"):
            raise unknown_path()
        parts = request.scope["path"].strip("/").split("/")
        if len(parts) == 1 and (media := _aggregated(request)):
            await self._send_aggregated(request, parts[0], media)
            return
        document = self._document(parts)
        if document is None:
            raise unknown_path()
        header = request.headers.get(b"accept", b"").decode("latin-1")
        await send_object(request, 200, document, negotiation.accept(header).media_type)

    def _document(self, parts: list[str]) -> Object | None:
        match parts:
            case ["api"]:
                return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": self._addresses}
            case ["apis"]:
                groups = [self._group(g) for g in self._groups() if g]
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case ["api", version]:
                return self._resources("", version)
            case ["apis", group] if group in self._groups():
                return {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
            case ["apis", group, version]:
                return self._resources(group, version)
        return None

    def _served(self) -> Iterable[tuple[str, str]]:
        """Group versions, our own first."""
        own = ((k.group, k.version) for k in self._catalog.scheme)
        return itertools.chain(own, map(group_version, self._table.all_remote()))

    def _groups(self) -> list[str]:
        """In the order of their priorities: it decides which one is meant by a short name that several have."""
        ranks = {
            k.group: group_priority(k.group, not self._catalog.strategy(k).translated) for k in self._catalog.scheme
        }
        for remote in self._table.all_remote():
            ranks.setdefault(remote["spec"]["group"], remote["spec"]["groupPriorityMinimum"])
        return sorted(ranks, key=lambda g: (-ranks[g], g))

    def _versions(self, group: str) -> list[str]:
        return sorted({version for of, version in self._served() if of == group}, key=_priority)

    def _group(self, group: str) -> Object:
        versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in self._versions(group)]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _kinds(self, group: str, version: str) -> list[Kind]:
        kinds = (k for k in self._catalog.scheme if (k.group, k.version) == (group, version))
        return sorted(kinds, key=lambda k: k.resource)

    def _resources(self, group: str, version: str) -> Object | None:
        kinds = self._kinds(group, version)
        if not kinds:
            return None
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": kinds[0].api_version,
            "resources": [r for k in kinds for r in _classic(k, self._storage_version(k))],
        }

    def _storage_version(self, kind: Kind) -> str:
        """The apiVersion that objects of a kind are stored in; "" if they are not."""
        if not kind.stored:
            return ""
        storing = getattr(self._catalog.strategy(kind), "storing", None)
        same = (k for k in self._catalog.scheme if k.stored and bucket_of(k) == bucket_of(kind))
        return str(storing.api_version) if storing else next(same).api_version

    async def _send_aggregated(self, request: Request, root: str, media: str) -> None:
        made = self._made.get(media + root)
        state = self._state
        if made is None or made[0] != state:
            data = orjson.dumps(self._aggregate(root, media))
            etag = b'"%b"' % hashlib.sha256(data).hexdigest().upper().encode()
            made = self._made[media + root] = (state, data, etag)
        _, data, etag = made
        known = request.headers.get(b"if-none-match") == etag
        headers = [(b"etag", etag), (b"vary", b"Accept"), (b"cache-control", b"public")]
        await send_bytes(request, 304 if known else 200, b"" if known else data, media.encode(), headers)

    def _aggregate(self, root: str, media: str) -> Object:
        groups = [g for g in self._groups() if bool(g) == (root == "apis")]
        version = media.partition("v=")[2].partition(";")[0]
        items = [
            {
                "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
                "versions": [self._version(group, v) for v in self._versions(group)],
            }
            for group in groups
        ]
        return {"kind": _AGGREGATED, "apiVersion": f"apidiscovery.k8s.io/{version}", "metadata": {}, "items": items}

    def _version(self, group: str, version: str) -> Object:
        remote = self._table.remote(group, version)
        if remote is None:
            resources = [_aggregated_resource(k) for k in self._kinds(group, version)]
            return {"version": version, "resources": resources, "freshness": "Current"}
        told = aggregated_resources(self._documents.resources(group, version) or {})
        return {"version": version, "resources": told, "freshness": "Current" if is_available(remote) else "Stale"}


_VERSION = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?")


def _priority(version: str) -> tuple[int, int, int, str]:
    """Who comes first: stable before beta before alpha, newer before older, what is no version last."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return (4, 0, 0, version)
    return ({None: 1, "beta": 2, "alpha": 3}[found[2]], -int(found[1]), -int(found[3] or 0), "")


def _aggregated(request: Request) -> str:
    """The media type to answer with if the client prefers the aggregated document; else ""."""
    header = request.headers.get(b"accept", b"").decode("latin-1")
    for media, parameters in negotiation.clauses(header) if header else ():
        if parameters.get("as") == _AGGREGATED and parameters.get("g") == "apidiscovery.k8s.io":
            if media == negotiation.JSON and parameters.get("v") in ("v2", "v2beta1"):
                return f"{media};g=apidiscovery.k8s.io;v={parameters['v']};as={_AGGREGATED}"
        elif media in (negotiation.JSON, "*/*", "application/*"):
            return ""
    return ""


def _present(**fields: Any) -> Object:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items() if v}


def storage_version_hash(api_version: str, kind: str) -> str:
    """By which clients see that what is stored would have to be written again: upstream's for the same version."""
    name = f"{'' if '/' in api_version else '/'}{api_version}/{kind}"
    return base64.b64encode(hashlib.sha256(name.encode()).digest()[:8]).decode()


def _classic(kind: Kind, storage_version: str) -> Iterable[Object]:
    yield {
        "name": kind.resource,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": sorted(kind.verbs),
        **_present(shortNames=kind.short_names, categories=kind.categories),
        **({"storageVersionHash": storage_version_hash(storage_version, kind.kind)} if storage_version else {}),
    }
    for subresource in sorted(kind.subresources):
        group, version, name, verbs = subresource_kind(kind, subresource)
        foreign = (group, version) != (kind.group, kind.version)
        yield {
            "name": f"{kind.resource}/{subresource}",
            "singularName": "",
            "namespaced": kind.namespaced,
            **(_present(group=group, version=version) if foreign else {}),
            "kind": name,
            "verbs": list(verbs),
        }


def _aggregated_resource(kind: Kind) -> Object:
    subresources = []
    own = {"group": "", "version": ""}  # those around it
    for subresource in sorted(kind.subresources):
        group, version, name, verbs = subresource_kind(kind, subresource)
        of = own if (group, version) == (kind.group, kind.version) else {"group": group, "version": version}
        response = {**of, "kind": name}
        subresources.append({"subresource": subresource, "responseKind": response, "verbs": list(verbs)})
    return {
        "resource": kind.resource,
        "responseKind": {**own, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": sorted(kind.verbs),
        **_present(shortNames=kind.short_names, categories=kind.categories, subresources=tuple(subresources)),
    }
