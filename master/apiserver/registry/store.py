"""The registry: the one door to the cluster's objects. REST, gRPC and the server's own start-up all come in here.

Every verb authorizes first, and raises an ApiError of upstream's wording. Reads are in ``reads``, the write pipeline in
``pipeline``, ``creates``, ``changes`` and ``removals``.
"""

from typing import Any

from apimachinery.scheme import Kind

from ..admission.chain import AdmissionRequest
from ..auth.user import LOOPBACK, User
from . import changes, computed, creates, refusals, removals
from .answers import Answer, Question, WriteOptions
from .computed import Computed
from .deletion import DeleteOptions
from .patching import Transform
from .pipeline import Pipeline, Result, Target, admission, method_not_allowed
from .read_options import ListOptions, WatchOptions
from .reads import Listing, Watch
from .selection import Selection
from .subresources import subresource_kind

Object = dict[str, Any]


class Registry:
    """``answers`` hold what a create on a subresource or on an unstored kind does, such as token reviews; ``computed``,
    by group and resource, what makes the objects of kinds that are read and not stored."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.reads = pipeline.reads
        self.catalog = pipeline.catalog
        self.answers: dict[tuple[str, str, str], Answer] = {}
        self.computed: dict[tuple[str, str], Computed] = {}

    def _permit(self, user: User, verb: str, target: Target) -> None:
        """Raises Forbidden, or MethodNotAllowed for what the kind or subresource does not have."""
        self.pipeline.authorize(user, verb, target)
        kind = target.kind
        if verb not in (subresource_kind(kind, target.subresource)[3] if target.subresource else kind.verbs):
            raise method_not_allowed(kind, verb)

    async def get(self, user: User, target: Target, resource_version: str = "") -> Result:
        self._permit(user, "get", target)
        if made := self.computed.get((target.kind.group, target.kind.resource)):
            found = await computed.listing(made, computed.by_name(target.namespace, target.name))
            if not found.entries:
                raise refusals.not_found(target.kind, target.name)
            return Result(found.entries[0].data)
        entry = await self.reads.entry(target.kind, target.namespace, target.name, resource_version)
        if target.subresource == "scale":
            return Result.of(self.catalog.strategy(target.kind).to_scale(entry.object))
        return Result(entry.data)

    async def list(self, user: User, target: Target, selection: Selection, options: ListOptions) -> Listing:
        self._permit(user, "list", Target(target.kind, target.namespace, selection.name))
        if made := self.computed.get((target.kind.group, target.kind.resource)):
            return await computed.listing(made, selection)
        return await self.reads.listing(target.kind, selection, options)

    async def watch(self, user: User, target: Target, selection: Selection, options: WatchOptions) -> Watch:
        self._permit(user, "watch", Target(target.kind, target.namespace, selection.name))
        return await self.reads.watch(target.kind, selection, options)

    async def create(self, user: User, target: Target, body: Object, options: WriteOptions) -> Result:
        """Also what is only answered: reviews, tokens, bindings, evictions."""
        self._permit(user, "create", target)
        kind = target.kind
        answer = self.answers.get((kind.group, kind.resource, target.subresource))
        if answer:
            self.pipeline.check_body(body, options)
            body = await self._admit(admission(user, "CREATE", target, body, None, options)) or body
            question = Question(user, kind, target.subresource, target.namespace, target.name, body, options)
            return Result.of(await answer(question), created=True)
        if target.subresource or not kind.stored:
            raise method_not_allowed(kind, "create")
        return await creates.create(self.pipeline, user, target, body, options)

    async def connect(self, user: User, verb: str, target: Target, asked: Object, options: WriteOptions) -> None:
        """Authorize and admit a connection to a subresource; ``asked`` is what upstream calls its options object."""
        self.pipeline.authorize(user, verb, target)
        if asked:
            await self._admit(admission(user, "CONNECT", target, asked, None, options))

    async def _admit(self, request: AdmissionRequest) -> Object | None:
        await self.pipeline.chain.mutate(request)
        await self.pipeline.chain.validate(request)
        return request.object

    async def update(self, user: User, target: Target, body: Object, options: WriteOptions) -> Result:
        self._permit(user, "update", target)
        return await changes.update(self.pipeline, user, target, body, options)

    async def patch(
        self, user: User, target: Target, transform: Transform, options: WriteOptions, *, may_create: bool = False
    ) -> Result:
        self._permit(user, "patch", target)
        return await changes.patch(self.pipeline, user, target, transform, options, may_create=may_create)

    async def delete(self, user: User, target: Target, options: DeleteOptions, write: WriteOptions) -> Result:
        self._permit(user, "delete", target)
        return await removals.delete(self.pipeline, user, target, options, write)

    async def delete_collection(
        self, user: User, target: Target, selection: Selection, options: DeleteOptions, write: WriteOptions
    ) -> Listing:
        self._permit(user, "deletecollection", Target(target.kind, target.namespace))
        return await removals.delete_collection(self.pipeline, user, target, selection, options, write)


_SELF = "kube-apiserver"


class LoopbackWriter:
    """Writes as the API server itself: what bootstrap and answers use."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def create(self, kind: Kind, obj: Object) -> Object:
        target = Target(kind, obj["metadata"].get("namespace", ""))
        return (await self._registry.create(LOOPBACK, target, obj, WriteOptions(field_manager=_SELF))).object

    async def update(self, kind: Kind, obj: Object, subresource: str = "") -> Object:
        meta = obj["metadata"]
        target = Target(kind, meta.get("namespace", ""), meta["name"], subresource)
        return (await self._registry.update(LOOPBACK, target, obj, WriteOptions(field_manager=_SELF))).object

    async def delete(self, kind: Kind, namespace: str, name: str, options: DeleteOptions) -> Object:
        return (await self._registry.delete(LOOPBACK, Target(kind, namespace, name), options, WriteOptions())).object
