"""Requests for resources: from path and method to the registry, and from its results to the response."""

from collections.abc import Awaitable, Callable
from typing import Any

from apimachinery import patch
from apimachinery.errors import ApiError, BadRequest, NotFound
from apimachinery.scheme import Kind

from ..aggregation.proxy import Aggregator
from ..aggregation.table import OWN_GROUPS
from ..fairness.fairness import OBJECTS_A_SEAT
from ..registry import patching
from ..registry.answers import WriteOptions
from ..registry.kinds.autoscaling import ScaleStrategy
from ..registry.pipeline import Target, method_not_allowed
from ..registry.read_options import ListOptions
from ..registry.selection import Selection
from ..registry.store import Registry
from . import body, negotiation, shapes
from .connect import Connectors, ConnectRequest, options_of
from .negotiation import Wanted
from .request import Place, Request
from .respond import send_data, send_object, send_pieces
from .watching import serve_watch

Object = dict[str, Any]
Handler = Callable[[Request], Awaitable[None]]

_CREATES = ("token", "binding", "eviction")
_BODY_KINDS = {
    "token": Kind("authentication.k8s.io", "v1", "TokenRequest", ""),
    "binding": Kind("", "v1", "Binding", ""),
    "eviction": Kind("policy", "v1", "Eviction", ""),
    "scale": Kind("autoscaling", "v1", "Scale", ""),
}
"""What a body is that does not say so: a subresource that takes another kind than its resource's."""


_SCALE = ScaleStrategy(_BODY_KINDS["scale"])


class Resources:
    """``discovery`` answers the paths that name no resource, ``aggregator`` those of aggregated APIs."""

    def __init__(self, registry: Registry, discovery: Handler, connectors: Connectors, aggregator: Aggregator) -> None:
        self._registry = registry
        self._aggregator = aggregator
        self._discovery = discovery
        self._connectors = connectors
        self._collection = {"GET": self._list, "POST": self._create, "DELETE": self._delete_collection}
        self._object = {"GET": self._get, "PUT": self._update, "PATCH": self._patch, "DELETE": self._delete}

    async def __call__(self, request: Request) -> None:
        """Raises ApiError."""
        place = request.place
        if place is None:
            await self._discover(request)
            return
        kind = self._registry.catalog.scheme.by_resource(place.group, place.version, place.resource)
        if kind is None or kind.group not in OWN_GROUPS:
            remote = self._aggregator.table.remote(place.group, place.version)
            if remote is not None:
                await self._aggregator.serve(request, place, self._registry.pipeline, remote)
                return
        if kind is None or (place.subresource and place.subresource not in kind.subresources):
            raise unknown_path()
        target = request.target = Target(kind, place.namespace, place.name, place.subresource)
        if (kind.group, kind.resource, place.subresource) in self._connectors:
            await self._connect(request, place, kind)
            return
        handlers: Any = self._object if place.name else self._collection
        if place.subresource in _CREATES:
            handlers = {"POST": self._create}
        handler = handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None or not _allowed(kind, place, request.method):
            raise method_not_allowed(kind, request.method)
        _check_scope(kind, place)
        if told := self._registry.catalog.strategy(kind).deprecated:
            request.warnings.append(told)
        await handler(request, target)

    async def _discover(self, request: Request) -> None:
        match request.scope["path"].strip("/").split("/"):
            case ["apis", group, version] if remote := self._aggregator.table.remote(group, version):
                await self._aggregator.serve(request, None, self._registry.pipeline, remote)
            case _:
                await self._discovery(request)

    def width(self, request: Request) -> int:
        """The seats that a request takes: one, or for what reads a collection, one for each hundred objects."""
        place = request.place
        if place is None or place.name or request.method == "POST":
            return 1
        kind = self._registry.catalog.scheme.by_resource(place.group, place.version, place.resource)
        if kind is None or not kind.stored:
            return 1
        count = self._registry.reads.bucket(kind).count(place.namespace)
        limit = request.query.get("limit", "")
        if limit.isascii() and limit.isdecimal() and len(limit) < 10:  # what else it may be is told when it is read
            count = min(count, int(limit) or count)
        return -(-count // OBJECTS_A_SEAT) or 1

    # Reads.

    async def _get(self, request: Request, target: Target) -> None:
        wanted = self._accept(request)
        result = await self._registry.get(request.user, target, request.query.get("resourceVersion", ""))
        if wanted.shape:
            shape = shapes.of_object(self._strategy(target), wanted, result.object, request.query)
            await send_object(request, 200, shape, wanted.media_type)
        else:
            data = self._strategy(target).shown_bytes(result.data)
            await send_data(request, 200, data, wanted.media_type)

    async def _list(self, request: Request, target: Target) -> None:
        wanted = self._accept(request)
        query = request.query
        selection = self._selection(target, query)
        if request.flag("watch"):
            await serve_watch(request, self._registry, target, selection, wanted)
            return
        options = ListOptions(
            query.get("resourceVersion", ""),
            query.get("resourceVersionMatch", ""),
            max(0, request.number("limit") or 0),
            query.get("continue", ""),
        )
        listing = await self._registry.list(request.user, target, selection, options)
        pieces, length = shapes.list_pieces(self._strategy(target), wanted, listing, query)
        await send_pieces(request, pieces, length, wanted.media_type)

    # Writes. Who may not is told so before the body is read; the registry asks again, whoever comes.

    async def _create(self, request: Request, target: Target) -> None:
        self._registry.pipeline.authorize(request.user, "create", target)
        wanted = self._accept(request, shapes=target.kind.stored)
        options = body.write_options(request)
        obj = await body.read_object(request, _BODY_KINDS.get(target.subresource, target.kind), options)
        if not target.subresource:
            body.check_kind(obj, target.kind)
        result = await self._registry.create(request.user, target, obj, options)
        await self._answer(request, target, wanted, 201, result.data, lambda: result.object)

    async def _update(self, request: Request, target: Target) -> None:
        self._registry.pipeline.authorize(request.user, "update", target)
        wanted = self._accept(request)
        options = body.write_options(request)
        obj = await body.read_object(request, _BODY_KINDS.get(target.subresource, target.kind), options)
        if target.subresource != "scale":
            body.check_kind(obj, target.kind)
        result = await self._registry.update(request.user, target, obj, options)
        await self._answer(request, target, wanted, 201 if result.created else 200, result.data, lambda: result.object)

    async def _patch(self, request: Request, target: Target) -> None:
        self._registry.pipeline.authorize(request.user, "patch", target)
        wanted = self._accept(request)
        options = body.write_options(request)
        media = body.media_type(request)
        raw = await request.body()
        if media == patch.APPLY_PATCH:
            raw = await body.applied(request, raw, options)
        transform = patching.transform(self._registry.pipeline, target, media, raw, options)
        may_create = media == patch.APPLY_PATCH and not target.subresource
        result = await self._registry.patch(request.user, target, transform, options, may_create=may_create)
        await self._answer(request, target, wanted, 201 if result.created else 200, result.data, lambda: result.object)

    async def _delete(self, request: Request, target: Target) -> None:
        self._registry.pipeline.authorize(request.user, "delete", target)
        wanted = self._accept(request)
        options = await body.delete_options(request)
        result = await self._registry.delete(request.user, target, options, body.write_options(request))
        await self._answer(request, target, wanted, 200, result.data, lambda: result.object)

    async def _delete_collection(self, request: Request, target: Target) -> None:
        self._registry.pipeline.authorize(request.user, "deletecollection", target)
        selection = self._selection(target, request.query)
        options = await body.delete_options(request)
        write = body.write_options(request)
        listing = await self._registry.delete_collection(request.user, target, selection, options, write)
        pieces, length = shapes.list_pieces(self._strategy(target), negotiation.PLAIN, listing, request.query)
        await send_pieces(request, pieces, length)

    # Connections.

    async def _connect(self, request: Request, place: Place, kind: Kind) -> None:
        connector = self._connectors[kind.group, kind.resource, place.subresource]
        verb = _connect_verb(request.method, place)
        target = Target(kind, place.namespace, place.name, place.subresource)
        options = WriteOptions(warnings=request.warnings, annotations=request.annotations)
        await self._registry.connect(
            request.user, verb, target, options_of(request.scope, kind, place.subresource, place.rest), options
        )
        asked = ConnectRequest(
            request.user, kind, place.subresource, place.namespace, place.name, place.rest, request.method
        )

        await connector(asked, request.scope, request.receive, request.pass_on)

    # Steps.

    async def _answer(
        self, request: Request, target: Target, wanted: Wanted, status: int, data: bytes, obj: Callable[[], Object]
    ) -> None:
        if wanted.shape and obj().get("kind") == target.kind.kind:
            shape = shapes.of_object(self._strategy(target), wanted, obj(), request.query)
            await send_object(request, status, shape, wanted.media_type)
        else:
            shown = self._strategy(target).shown_bytes(data) if target.kind.stored else data
            await send_data(request, status, shown, wanted.media_type)

    @staticmethod
    def _accept(request: Request, *, shapes: bool = True) -> Wanted:
        header = request.headers.get(b"accept")
        return negotiation.accept(header.decode("latin-1"), shapes=shapes) if header else negotiation.PLAIN

    def _strategy(self, target: Target) -> Any:
        return _SCALE if target.subresource == "scale" else self._registry.catalog.strategy(target.kind)

    def _selection(self, target: Target, query: dict[str, str]) -> Selection:
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        return Selection.parse(self._strategy(target), target.namespace, labels, fields)


_PROXY_VERBS = {"PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create"}


def _connect_verb(method: str, place: Place) -> str:
    """What a connection is to the authorizer."""
    if place.subresource == "proxy":
        return _PROXY_VERBS.get(method, "get")
    return "create" if method == "POST" else "get"


_OBJECT_VERBS = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COLLECTION_VERBS = {"GET": "list", "HEAD": "list", "POST": "create", "DELETE": "deletecollection"}


def _allowed(kind: Kind, place: Place, method: str) -> bool:
    """Whether the kind has the verb; nothing namespaced is created or swept away in all namespaces at once."""
    if place.subresource:
        return True
    if not place.name and kind.namespaced and not place.namespace and method in ("POST", "DELETE"):
        return False
    return (_OBJECT_VERBS if place.name else _COLLECTION_VERBS)[method] in kind.verbs


def _check_scope(kind: Kind, place: Place) -> None:
    """A namespaced object has a namespace in its path, a cluster-wide one has none."""
    if kind.namespaced and not place.namespace and (place.name or place.subresource):
        raise BadRequest("an empty namespace may not be set when a resource name is provided")
    if not kind.namespaced and place.namespace:
        raise unknown_path()


def unknown_path() -> ApiError:
    return NotFound("the server could not find the requested resource")
