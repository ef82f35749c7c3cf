"""``kubeto.v1.ApiServer``: the registry over gRPC, for the cluster's own processes."""

import ssl
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any, NoReturn

import grpc
import orjson

from apimachinery import scheme
from apimachinery.errors import ApiError, BadRequest, InternalError, NotFound, Unauthorized
from apimachinery.logging import get_logger
from protos.kubeto.v1 import apiserver_pb2 as pb
from protos.kubeto.v1.apiserver_pb2_grpc import ApiServerServicer

from ..audit.records import Auditor, Origin, Record
from ..auth.authorizer import RequestAttributes
from ..auth.user import User
from ..fairness.fairness import OBJECTS_A_SEAT, Fairness, Ticket
from ..identifiers import AuditIds
from ..registry import binding, patching
from ..registry.answers import WriteOptions
from ..registry.deletion import DeleteOptions
from ..registry.pipeline import Result, Target
from ..registry.read_options import ListOptions
from ..registry.selection import Selection
from ..registry.store import Registry
from ..rest.audited import path_of
from ..rest.front import Identities, too_deep
from .watches import WatchStream

Object = dict[str, Any]
Context = Any  # grpc.aio.ServicerContext of whichever messages

_log = get_logger(__name__)

STATUS_TRAILER = "kubeto-status-bin"
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ABORTED,
    410: grpc.StatusCode.OUT_OF_RANGE,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_audit_id = AuditIds()
_UNKNOWN = NotFound("the server could not find the requested resource")
_VERBS = {pb.Write.CREATE: "create", pb.Write.UPDATE: "update", pb.Write.PATCH: "patch", pb.Write.DELETE: "delete"}


class ApiServerService(ApiServerServicer):
    """Errors of Get and List are gRPC statuses with the Status in a trailer; those of Write and Bind are results."""

    def __init__(
        self, registry: Registry, identities: Identities, fairness: Fairness, auditor: Auditor | None = None
    ) -> None:
        self._registry = registry
        self._identities = identities
        self._fairness, self._auditor = fairness, auditor

    async def Get(self, request: pb.GetRequest, context: Context) -> pb.ObjectReply:  # noqa: N802
        try:
            user = await self._user(context)
            target = self._target(request.ref)
            work = self._registry.get(user, target, request.resource_version)
            result = await self._fairness.serve(self._ticket(user, "get", target), work)
        except ApiError as error:
            await _abort(context, error)
        return pb.ObjectReply(json=self._shown(target, result.data))

    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListReply:  # noqa: N802
        try:
            user = await self._user(context)
            target, selection = self.select(request.selection)
            options = ListOptions(
                request.resource_version, request.resource_version_match, max(0, request.limit), request.continue_token
            )
            work = self._registry.list(user, target, selection, options)
            count = self._registry.reads.bucket(target.kind).count(target.namespace) if target.kind.stored else 1
            width = -(-min(count, options.limit or count) // OBJECTS_A_SEAT)
            listing = await self._fairness.serve(self._ticket(user, "list", target, width or 1), work)
        except ApiError as error:
            await _abort(context, error)
        return pb.ListReply(
            items=[self._shown(target, e.data) for e in listing.entries],
            resource_version=str(listing.revision),
            continue_token=listing.continue_token,
        )

    async def Watch(  # type: ignore[override]  # noqa: N802 - grpc.aio takes a writer as well as a generator
        self, requests: AsyncIterator[pb.WatchRequest], context: Context
    ) -> None:
        try:
            user = await self._user(context)
        except ApiError as error:
            await _abort(context, error)
        stream = WatchStream(self._registry, user, self.select, context.write)
        await stream.run(requests)

    async def Write(self, request: pb.WriteRequest, context: Context) -> pb.WriteReply:  # noqa: N802
        try:
            user = await self._user(context)
        except ApiError as error:
            await _abort(context, error)
        return pb.WriteReply(results=[await self._write_one(context, user, write) for write in request.writes])

    async def Bind(self, request: pb.BindRequest, context: Context) -> pb.BindReply:  # noqa: N802
        try:
            user = await self._user(context)
            wanted = [binding.Binding(b.namespace, b.pod, b.node, b.pod_uid) for b in request.bindings]
            targets = [Target(scheme.PODS, b.namespace, b.pod, "binding") for b in wanted]
            records = [self._record(context, _about(user, "create", t), t) for t in targets]
            ticket = self._ticket(user, "create", Target(scheme.PODS, "", "", "binding"))
            outcomes = await self._fairness.serve(ticket, binding.bind(self._registry.pipeline, user, wanted))
        except ApiError as error:
            await _abort(context, error)
        for record, outcome in zip(records, outcomes, strict=True):
            if record:
                record.complete(outcome.status_code if outcome else 201, outcome)
        return pb.BindReply(errors=[orjson.dumps(o.to_status()) if o else b"" for o in outcomes])

    async def _write_one(self, context: Context, user: User, write: pb.Write) -> pb.WriteResult:
        record: Record | None = None
        refused: ApiError | None = None
        data = b""
        try:
            target = self._target(write.ref)
            if write.verb not in _VERBS:
                raise BadRequest(f"there is no verb {write.verb}")
            about = _about(user, _VERBS[write.verb], target)
            record = self._record(context, about, target, write.body)
            options = WriteOptions(
                dry_run=write.dry_run, field_manager=write.field_manager, field_validation="Ignore", force=write.force
            )
            work = self._write(user, target, write, options)
            data = self._shown(target, (await self._fairness.serve(self._fairness.ticket(about), work)).data)
            if record:
                record.annotations = options.annotations
        except ApiError as error:
            refused = error
        except Exception as error:  # the boundary of one write: it must not take the others of its request along
            refused = too_deep(error)
            if refused is None:
                _log.exception("Write failed", resource=write.ref.resource.resource, name=write.ref.name)
                refused = InternalError("Internal error occurred")
        if record:
            done = 201 if write.verb == pb.Write.CREATE else 200
            record.complete(refused.status_code if refused else done, refused, data if record.wants_response else b"")
        return pb.WriteResult(error=orjson.dumps(refused.to_status())) if refused else pb.WriteResult(object=data)

    async def _write(self, user: User, target: Target, write: pb.Write, options: WriteOptions) -> Result:
        if write.verb == pb.Write.PATCH:
            transform = patching.transform(self._registry.pipeline, target, write.patch_type, write.body, options)
            may_create = write.patch_type == patching.MEDIA_TYPES[-1] and not target.subresource
            return await self._registry.patch(user, target, transform, options, may_create=may_create)
        body = _object(write.body) if write.body else {}
        if write.verb == pb.Write.DELETE:
            return await self._registry.delete(user, target, DeleteOptions.from_json(body), options)
        if not target.subresource:
            body.setdefault("apiVersion", target.kind.api_version)
            body.setdefault("kind", target.kind.kind)
        verb = self._registry.create if write.verb == pb.Write.CREATE else self._registry.update
        return await verb(user, target, body, options)

    # Steps.

    def _shown(self, target: Target, data: bytes) -> bytes:
        """What is stored, as the kind that was asked for."""
        return self._registry.catalog.strategy(target.kind).shown_bytes(data)

    def _ticket(self, user: User, verb: str, target: Target, width: int = 1) -> Ticket:
        return self._fairness.ticket(_about(user, verb, target), width)

    def _record(self, context: Context, about: RequestAttributes, target: Target, body: bytes = b"") -> Record | None:
        """Told as the REST request that it stands for."""
        if self._auditor is None:
            return None

        def origin() -> Origin:
            metadata = dict(context.invocation_metadata() or ())
            address = str(context.peer()).partition(":")[2].rpartition(":")[0].strip("[]")
            return Origin(_audit_id(), path_of(target), (address,), str(metadata.get("user-agent", "")))

        record = self._auditor.begin(about, origin)
        if record:
            record.sent = body
        return record

    async def _user(self, context: Context) -> User:
        """Raises Unauthorized."""
        pems = context.auth_context().get("x509_pem_cert")
        if pems:
            return await self._identities.user(_der(pems[0]), None)
        metadata = dict(context.invocation_metadata() or ())
        authorization = metadata.get("authorization")
        if not authorization:
            raise Unauthorized("Unauthorized")
        return await self._identities.user(None, str(authorization))

    def _target(self, ref: pb.ObjectRef) -> Target:
        """Raises NotFound, BadRequest."""
        kind = self._kind(ref.resource)
        if (ref.subresource and ref.subresource not in kind.subresources) or (ref.namespace and not kind.namespaced):
            raise _UNKNOWN
        if kind.namespaced and not ref.namespace and kind.stored:
            raise BadRequest("an empty namespace may not be set for an object of a namespaced kind")
        return Target(kind, ref.namespace, ref.name, ref.subresource)

    def _kind(self, resource: pb.Resource) -> scheme.Kind:
        kind = self._registry.catalog.scheme.by_resource(resource.group, resource.version, resource.resource)
        if kind is None:
            raise _UNKNOWN
        return kind

    def select(self, selection: pb.Selection) -> tuple[Target, Selection]:
        """Raises NotFound, BadRequest."""
        kind = self._kind(selection.resource)
        strategy = self._registry.catalog.strategy(kind)
        parsed = Selection.parse(strategy, selection.namespace, selection.label_selector, selection.field_selector)
        return Target(kind, selection.namespace), parsed


def _about(user: User, verb: str, target: Target) -> RequestAttributes:
    kind = target.kind
    return RequestAttributes(
        user, verb, kind.group, kind.version, kind.resource, target.subresource, target.namespace, target.name
    )


def _object(raw: bytes) -> Object:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object")
    return body


@lru_cache(maxsize=4096)
def _der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


async def _abort(context: Context, error: ApiError) -> NoReturn:
    trailer = ((STATUS_TRAILER, orjson.dumps(error.to_status())),)
    await context.abort(_CODES.get(error.status_code, grpc.StatusCode.INTERNAL), error.message[:1000], trailer)
    raise AssertionError("abort raises")
