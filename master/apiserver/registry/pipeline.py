"""The steps that every write takes, in one place; ``creates``, ``changes`` and ``removals`` put them in order.

authorize -> decode and check -> default -> admit (mutate) -> prepare -> validate -> admit (validate) -> claims -> etcd.
An object handed to a write belongs to the pipeline from then on.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from apimachinery import schema as schemas_
from apimachinery.errors import MethodNotAllowed, RequestEntityTooLarge, ServiceUnavailable
from apimachinery.schema import Schemas
from apimachinery.scheme import Kind

from ..admission.chain import AdmissionRequest, Chain, Operation
from ..auth.authorizer import Authorizer, RequestAttributes
from ..auth.user import User
from ..storage import codec
from ..storage.interface import Mismatch, Op, Put, Storage, Stored, TooLarge, Unavailable, Unreadable
from ..storage.keys import KeySpace, local_key
from . import managed_fields, refusals
from .answers import WriteOptions
from .catalog import Catalog
from .claims import Claimer
from .reads import Reads
from .strategy import Strategy
from .turns import Turns

Object = dict[str, Any]

ATTEMPTS = 32
"""How often a write without a version is tried again when others write meanwhile."""


class Result:
    """An object as bytes for the wire, decoded when somebody asks. ``created``: 201 instead of 200."""

    __slots__ = ("_object", "created", "data")

    def __init__(self, data: bytes, obj: Object | None = None, *, created: bool = False) -> None:
        self.data, self._object, self.created = data, obj, created

    @classmethod
    def of(cls, obj: Object, *, created: bool = False) -> "Result":
        """An object that is not stored, or not as it is shown."""
        return cls(codec.plain(obj), obj, created=created)

    @property
    def object(self) -> Object:
        if self._object is None:
            self._object = codec.decode(self.data)
        return self._object


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about: a collection when ``name`` is empty."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A stored object as a write finds it: its JSON with resourceVersion."""

    key: str
    data: bytes
    revision: int


def found_there(stored: Stored) -> Held:
    """Raises InternalError for what is no object."""
    try:
        return Held(stored.key, codec.checked(stored), stored.revision)
    except Unreadable as error:
        raise refusals.unreadable(str(error)) from error


class Lost(Exception):
    """Somebody else has written: ``current`` is what is there now."""

    def __init__(self, current: Held | None) -> None:
        super().__init__()
        self.current = current


@dataclass(slots=True)
class Pipeline:
    """The parts of the API server that writes go through."""

    storage: Storage
    reads: Reads
    keys: KeySpace
    catalog: Catalog
    schemas: Schemas
    authorizer: Authorizer
    chain: Chain
    claimers: Mapping[Kind, Claimer]
    turns: Turns = field(default_factory=Turns)
    guards: dict[str, int] = field(default_factory=dict)
    """By name, the revision that this server knows of a guard: what was written up to it is in the cache."""
    moves: Counter[str] = field(default_factory=Counter)
    """How often a guard was found moved by another server."""
    _recent: dict[str, Held] = field(default_factory=dict)

    def authorize(self, user: User, verb: str, target: Target) -> None:
        """Raises Forbidden."""
        kind = target.kind
        attributes = RequestAttributes(
            user, verb, kind.group, kind.version, kind.resource, target.subresource, target.namespace, target.name
        )
        decision = self.authorizer.authorize(attributes)
        if not decision.allowed:
            raise refusals.forbidden(attributes, decision.reason)

    def check(self, kind: Kind, body: Object, options: WriteOptions) -> None:
        """Decode a body in place as its kind, into the form that is stored. Raises BadRequest; unknown fields may only
        be warned about."""
        problems = self.schemas.check(kind, body, options.duplicates)
        if problems:
            self._tell(kind, problems, options)
        self.catalog.strategy(kind).to_stored(body)

    @staticmethod
    def _tell(kind: Kind, problems: Sequence[schemas_.FieldProblem], options: WriteOptions) -> None:
        wrong = next((p for p in problems if p.form == "type"), None)
        if wrong:
            raise schemas_.DecodingError(kind, wrong.message)
        if options.field_validation == "Strict":
            raise schemas_.DecodingError(kind, schemas_.strict_message(problems))
        if options.field_validation == "Warn":
            options.warnings.extend(p.message for p in problems)

    def check_body(self, body: Object, options: WriteOptions) -> None:
        """Decode a body that is not stored as the kind that it says it is. Raises BadRequest."""
        version, name = str(body.get("apiVersion", "")), str(body.get("kind", ""))
        schema = self.schemas.find(version, name)
        problems = self.schemas.check(schema, body, options.duplicates) if schema else []
        wrong = next((p for p in problems if p.form == "type"), None)
        if wrong:
            group, _, short = version.rpartition("/")
            raise schemas_.DecodingError(Kind(group, short, name, ""), wrong.message)

    async def mutate(self, strategy: Strategy, request: AdmissionRequest) -> Object:
        """Admit an object that has its defaults; the object as it comes out."""
        assert request.object is not None, "only deletions have no object"  # noqa: S101 - the invariant of a write
        recorded = request.object["metadata"].get("managedFields")
        if await self.chain.mutate(request):
            strategy.default(request.object)
            managed_fields.keep_valid(request.object, recorded, request.warnings)
        return request.object

    def key(self, target: Target) -> str:
        return self.keys.key(target.kind, target.namespace, target.name)

    def cached(self, target: Target) -> Held | None:
        """The cache's copy, or our own last write if the cache has not seen it yet. It is a first guess of what etcd
        has: a wrong one costs one more attempt."""
        key = self.key(target)
        entry = self.reads.bucket(target.kind).get(local_key(target.namespace, target.name))
        recent = self._recent.get(key)
        if recent and recent.revision > self.reads.cache.revision:
            return recent
        return Held(key, entry.data, entry.revision) if entry else None

    def remember(self, held: Held) -> None:
        """Note what this process has just written, until the cache has seen it too."""
        recent = self._recent
        recent[held.key] = held
        seen = self.reads.cache.revision
        for key in list(islice(recent, 2)):  # two out for one in: it shrinks as soon as the cache keeps up
            if recent[key].revision <= seen:
                del recent[key]

    async def read(self, key: str) -> Held | None:
        """What etcd has. Raises ServiceUnavailable, InternalError."""
        try:
            stored = await self.storage.get(key)
        except Unavailable as error:
            raise _unavailable(error) from error
        return found_there(stored) if stored else None

    async def commit(self, ops: Sequence[Op]) -> int:
        """Raises Mismatch, ServiceUnavailable, RequestEntityTooLarge."""
        # In a task of its own: others' reads wait for the cache to have this, and must not wait for the writer's turn.
        return await asyncio.create_task(self._commit(ops))

    async def _commit(self, ops: Sequence[Op]) -> int:
        try:
            revision = await self.storage.commit(ops)
        except TooLarge as error:
            raise RequestEntityTooLarge(f"Request entity too large: {error}") from error
        except Unavailable as error:
            raise _unavailable(error) from error
        self.reads.cache.committed(ops, revision)
        return revision

    def guarding(self, name: str) -> Op:
        """The operation that moves a guard, unless another server has moved it."""
        return Put(self._guard_key(name), b"", self.guards.get(name, 0))

    def guard_moved(self, name: str, found: Mismatch) -> bool:
        """Whether that is why a commit failed; if so, where it is now is known next time."""
        stored = found.current.get(self._guard_key(name))
        revision = stored.revision if stored else 0
        moved = revision != self.guards.get(name, 0)
        self.guards[name] = revision
        self.moves[name] += moved
        return moved

    def _guard_key(self, name: str) -> str:
        return f"{self.keys.root}kubeto/{name}"

    async def replace(self, held: Held, value: bytes, ops: Sequence[Op]) -> bytes:
        """Commit operations that put ``value`` in the place of ``held``; the object's new bytes. Raises Lost."""
        revision = await self.commit_change(held, ops)
        data = codec.splice(value, revision)
        self.remember(Held(held.key, data, revision))
        return data

    async def commit_change(self, held: Held, ops: Sequence[Op]) -> int:
        """Commit what was based on ``held``. Raises Lost if that was not the latest state."""
        try:
            return await self.commit(ops)
        except Mismatch as found:
            stored = found.current.get(held.key)
            if stored is None:
                raise Lost(None) from None
            raise Lost(found_there(stored)) from None


_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


def admission(
    user: User,
    operation: Operation,
    target: Target,
    obj: Object | None,
    old: Object | None,
    options: WriteOptions,
) -> AdmissionRequest:
    told: Object = {}  # a CONNECT's options are its object
    if operation != "CONNECT":
        told = {"kind": _OPTIONS[operation], "apiVersion": "meta.k8s.io/v1", **options.told}
    if options.dry_run:
        told["dryRun"] = ["All"]
    if options.field_manager and operation in ("CREATE", "UPDATE"):
        told |= {"fieldManager": options.field_manager, "fieldValidation": options.field_validation}
    return AdmissionRequest(
        user=user,
        operation=operation,
        kind=target.kind,
        subresource=target.subresource,
        namespace=target.namespace,
        name=target.name,
        object=obj,
        old=old,
        options=told,
        dry_run=options.dry_run,
        warnings=options.warnings,
        annotations=options.annotations,
    )


def _unavailable(error: Unavailable) -> ServiceUnavailable:
    return ServiceUnavailable(f"the store does not answer: {error}", retry_after_seconds=1)


def method_not_allowed(kind: Kind, verb: str) -> MethodNotAllowed:
    message = f'{verb} is not supported on resources of kind "{kind.group_resource}"'
    return MethodNotAllowed(message, group=kind.group, kind=kind.resource)
