"""Update and patch: one object becomes another, based on the latest state.

A lost race is a 409 for who named a version, and tried again for who did not.
"""

from typing import Any

import orjson

from apimachinery.errors import BadRequest, Cause, Invalid
from apimachinery.schema import DecodingError
from apimachinery.scheme import Kind

from ..auth.user import User
from ..storage import codec
from ..storage.interface import Put
from . import deletion, managed_fields, metadata, parts, refusals
from .answers import WriteOptions
from .creates import create
from .kinds.metadata import validate_metadata
from .patching import Transform
from .pipeline import ATTEMPTS, Held, Lost, Pipeline, Result, Target, admission
from .removals import remove
from .strategy import Strategy

Object = dict[str, Any]


async def update(pipeline: Pipeline, user: User, target: Target, body: Object, options: WriteOptions) -> Result:
    """PUT. An empty resourceVersion means whatever is there."""
    strategy = pipeline.catalog.strategy(target.kind)
    _check(pipeline, target, body, options)
    meta = body.setdefault("metadata", {})
    _check_name(meta.setdefault("name", target.name), target)
    if target.subresource != "scale" and not strategy.unconditional_update and not meta.get("resourceVersion"):
        cause = Cause(
            "FieldValueInvalid", "Invalid value: 0: must be specified for an update", "metadata.resourceVersion"
        )
        raise refusals.invalid(target.kind, target.name, [cause])
    encoded = codec.plain(body)
    first = [body]

    def transform(_: Object) -> Object:
        return first.pop() if first else codec.decode(encoded)

    may_create = strategy.create_on_update and not target.subresource
    async with pipeline.turns.take(pipeline.key(target)):
        return await _change(pipeline, user, target, options, transform, may_create=may_create)


async def patch(
    pipeline: Pipeline, user: User, target: Target, patched: Transform, options: WriteOptions, *, may_create: bool
) -> Result:
    """Apply a patch to whatever is there, again if that changes meanwhile. ``may_create``: server-side apply."""

    shown = pipeline.catalog.strategy(target.kind).shown

    def transform(current: Object) -> Object:
        body = patched(shown(current) if current else current)
        try:
            _check(pipeline, target, body, options)
        except DecodingError as error:
            raise _unfit(body, error) from error
        return body

    async with pipeline.turns.take(pipeline.key(target)):
        return await _change(pipeline, user, target, options, transform, may_create=may_create)


def _check(pipeline: Pipeline, target: Target, body: Object, options: WriteOptions) -> None:
    """Decode a body in place as what the target takes. Raises BadRequest."""
    if target.subresource == "scale" and not options.applying:
        body.update(parts.SCALE)
        pipeline.check_body(body, options)
    else:
        pipeline.check(target.kind, body, options)


def _unfit(body: Object, error: DecodingError) -> Invalid:
    """The refusal of a patch that makes no object of the kind: as upstream, the patch is what is invalid."""
    made = codec.plain(body).decode()
    cause = Cause("FieldValueInvalid", f"Invalid value: {orjson.dumps(made).decode()}: {error.why}", "patch")
    return Invalid(f' "" is invalid: {cause.field}: {cause.message}', causes=[cause])


async def _change(
    pipeline: Pipeline, user: User, target: Target, options: WriteOptions, transform: Transform, *, may_create: bool
) -> Result:
    held = pipeline.cached(target)
    for _ in range(ATTEMPTS):
        held = held or await pipeline.read(pipeline.key(target))
        if held is None:
            if not may_create:
                raise refusals.not_found(target.kind, target.name)
            return await _create(pipeline, user, target, options, transform)
        try:
            return await _replace(pipeline, user, target, options, transform, held)
        except Lost as lost:
            held = lost.current
    raise refusals.conflict(target.kind, target.name)


async def _create(
    pipeline: Pipeline, user: User, target: Target, options: WriteOptions, transform: Transform
) -> Result:
    body = transform({})
    pipeline.authorize(user, "create", target)
    meta = body.get("metadata", {})
    if meta.pop("resourceVersion", ""):
        raise refusals.conflict(target.kind, target.name)
    if uid := meta.get("uid"):
        why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        raise refusals.conflict(target.kind, target.name, why)
    return await create(pipeline, user, Target(target.kind, target.namespace), body, options, checked=True)


async def _replace(
    pipeline: Pipeline, user: User, target: Target, options: WriteOptions, transform: Transform, held: Held
) -> Result:
    """One attempt on one state of the object. Raises Lost if that was not the latest."""
    kind = target.kind
    strategy = pipeline.catalog.strategy(kind)
    shown = await strategy.load(held.data) if strategy.translated else held.data
    old = codec.decode(shown)
    current = codec.decode(shown)
    scaled = target.subresource == "scale"
    body = transform(strategy.to_scale(current) if scaled and not options.applying else current)
    wanted = body.setdefault("metadata", {}).get("resourceVersion")
    if wanted and wanted != old["metadata"]["resourceVersion"]:
        await _refuse_stale(pipeline, target, held)
    if options.applying:
        obj = body
    else:
        obj = strategy.from_scale(body, old) if scaled else parts.merge(kind, target.subresource, body, old)
    _carry_over(kind, target, obj, old)
    strategy.default(obj)
    managed_fields.record_update(pipeline.schemas, strategy, target.subresource, old, obj, options)
    request = admission(user, "UPDATE", target, obj, old, options)
    obj = await pipeline.mutate(strategy, request)
    if request.again and target.subresource != "scale":
        obj = request.object = _confine(kind, target, obj, old)
    await _validate(strategy, target, obj, old, options)
    await pipeline.chain.validate(request)
    obj["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
    stored, before = obj, old
    if strategy.translated:
        stored, before = await strategy.store(obj), codec.decode(held.data)
    if managed_fields.is_same(stored, before):
        return _shown(strategy, target, shown)
    if deletion.removable(strategy, obj):
        await remove(pipeline, kind, obj, held, options)
        return _shown(strategy, target, codec.plain(obj))  # who let go sees the object once more, as before
    claimer = pipeline.claimers.get(kind)
    claims = claimer.claim(obj, old) if claimer else ()
    if options.dry_run:
        return _shown(strategy, target, codec.plain(obj))
    value = codec.encode(stored)
    put = Put(held.key, value, held.revision, strategy.ttl_seconds)
    data = await pipeline.replace(held, value, [put, *claims])
    return _shown(strategy, target, data if stored is obj else codec.with_version_of(obj, data))


async def _refuse_stale(pipeline: Pipeline, target: Target, held: Held) -> None:
    """Our copy has another version than the request names: a conflict, unless it is ours that is old."""
    newest = await pipeline.read(held.key)
    if newest is None or newest.revision != held.revision:
        raise Lost(newest)
    raise refusals.conflict(target.kind, target.name)


def _check_name(name: str, target: Target) -> None:
    if name != target.name:
        raise BadRequest(f"the name of the object ({name}) does not match the name on the URL ({target.name})")


def _carry_over(kind: Kind, target: Target, obj: Object, old: Object) -> None:
    meta = obj["metadata"]
    _check_name(meta.get("name", ""), target)
    metadata.set_namespace(kind, meta, target.namespace)
    metadata.carry_over(kind, obj, old)


def _confine(kind: Kind, target: Target, changed: Object, old: Object) -> Object:
    """What others have made of the object, without what a write to this place may not change."""
    obj = parts.merge(kind, target.subresource, changed, old)
    if "managedFields" in changed["metadata"]:
        obj["metadata"] = obj["metadata"] | {"managedFields": changed["metadata"]["managedFields"]}
    _carry_over(kind, target, obj, old)
    return obj


async def _validate(strategy: Strategy, target: Target, obj: Object, old: Object, options: WriteOptions) -> None:
    causes = validate_metadata(obj, strategy.kind)
    if target.subresource == "status":
        metadata.confine_to_status(obj, old, strategy.status_metadata)
        strategy.prepare_status(obj, old)
        strategy.complete_status(obj)
        causes += strategy.validate_status(obj, old)
        causes += await strategy.judge(obj, old, causes)
    elif target.subresource not in ("", "scale"):
        causes += strategy.validate_part(target.subresource, obj, old)
        if strategy.has_generation:
            metadata.bump_generation(strategy.kind, obj, old)
    else:
        strategy.prepare_update(obj, old)
        causes += metadata.validate_update(obj, old) + metadata.immutable(strategy.immutable, obj, old)
        causes += strategy.validate_change(obj, old)
        causes += await strategy.judge(obj, old, causes)
        options.warnings.extend(strategy.warnings(obj))
        if strategy.has_generation:
            metadata.bump_generation(strategy.kind, obj, old)
    if causes:
        raise refusals.invalid(strategy.kind, target.name, causes)


def _shown(strategy: Strategy, target: Target, data: bytes) -> Result:
    return Result.of(strategy.to_scale(codec.decode(data))) if target.subresource == "scale" else Result(data)
