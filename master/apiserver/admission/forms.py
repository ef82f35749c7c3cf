"""An admission request's object as somebody outside wants to see it, and back after he has changed it.

Inside, an object is in the form that is stored, and a write to ``scale`` is one to the whole workload. A webhook or a
policy sees what the request's own client would see, or an equivalent kind that its rules name.
"""

from typing import Any

from apimachinery.errors import InternalError
from apimachinery.patch import copy
from apimachinery.schema import Schema, Schemas
from apimachinery.scheme import Kind

from ..registry.catalog import Catalog
from ..registry.subresources import subresource_kind
from ..storage.keys import bucket_of
from .chain import AdmissionRequest

Object = dict[str, Any]
_SEPARATE = ("binding", "eviction", "token")


class Forms:
    def __init__(self, catalog: Catalog, schemas: Schemas) -> None:
        self.catalog, self._schemas = catalog, schemas

    def equivalents(self, kind: Kind) -> list[Kind]:
        """Other kinds as which the same objects can be had: versions, and other groups."""
        bucket = bucket_of(kind)
        return [k for k in self.catalog.scheme if k.stored and k is not kind and bucket_of(k) == bucket]

    def schema(self, kind: Kind) -> Schema:
        return self._schemas.of(kind)

    def unknown(self, kind: Kind, obj: Object) -> str:
        """The path of the first field that objects of a kind do not have."""
        return next((p.path for p in self._schemas.check(kind, copy(obj)) if p.form == "unknown"), "")

    async def shown(self, request: AdmissionRequest, obj: Object | None, kind: Kind) -> Object | None:
        """``request``'s object, or its old one, as ``kind``; shared with the request, so never to be changed. Raises
        ApiError for a custom kind that cannot be converted."""
        if obj is None or _is_separate(request):
            return obj
        if request.subresource == "scale":
            return self.catalog.strategy(request.kind).to_scale(obj)
        strategy = self.catalog.strategy(kind)
        return await strategy.converted(obj) if strategy.translated else strategy.shown(obj)

    async def take(self, request: AdmissionRequest, kind: Kind, changed: Object) -> None:
        """Make ``changed``, which is of ``kind``, the request's object: checked, pruned and with its defaults.

        Raises InternalError for what is no object of the kind any more, or cannot be converted."""
        assert request.object is not None, "what has no object cannot be changed"  # noqa: S101 - callers look
        if request.subresource == "scale":
            request.object = self.catalog.strategy(request.kind).from_scale(changed, request.object)
        elif _is_separate(request):
            group, version, name, _ = subresource_kind(request.kind, request.subresource)
            self._check(Kind(group, version, name, ""), changed)
            request.object = changed
        else:
            self._check(kind, changed)
            self.catalog.strategy(kind).to_stored(changed)
            own = self.catalog.strategy(request.kind)
            if own.translated:
                changed = await own.converted(changed)
            own.default(changed)
            request.object = changed
        request.again = True

    def _check(self, kind: Kind, obj: Object) -> None:
        wrong = next((p for p in self._schemas.check(kind, obj) if p.form == "type"), None)
        if wrong:
            raise InternalError(f"Internal error occurred: {wrong.message}")


def _is_separate(request: AdmissionRequest) -> bool:
    """Whether the object is no object of the request's kind, but what a subresource takes."""
    return request.operation == "CONNECT" or request.subresource in _SEPARATE
