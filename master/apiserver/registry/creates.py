"""Create: a new object, or another name if the generated one is taken."""

from typing import Any

from apimachinery.patch import copy

from ..admission.chain import Guard
from ..auth.user import User
from ..storage import codec
from ..storage.interface import Mismatch, Put
from . import managed_fields, metadata, refusals
from .answers import WriteOptions
from .kinds.metadata import validate_metadata
from .pipeline import ATTEMPTS, Held, Pipeline, Result, Target, admission
from .strategy import Strategy

Object = dict[str, Any]

NAME_ATTEMPTS = 8
"""As upstream (KEP-4420)."""


async def create(
    pipeline: Pipeline, user: User, target: Target, body: Object, options: WriteOptions, *, checked: bool = False
) -> Result:
    """The caller has authorized. ``checked``: the body has been through the schema already."""
    kind = target.kind
    strategy = pipeline.catalog.strategy(kind)
    if not checked:
        pipeline.check(kind, body, options)
    invented = not (body.get("metadata") or {}).get("name")
    metadata.fill_new(kind, body, target.namespace, generation=strategy.has_generation)
    named = Target(kind, target.namespace, body["metadata"].get("name", ""))
    strategy.default(body)
    managed_fields.record_create(pipeline.schemas, strategy, body, options)
    request = admission(user, "CREATE", named, body, None, options)
    own = {k: body["metadata"].get(k) for k in metadata.KEPT}
    obj = await pipeline.mutate(strategy, request)
    if request.again:
        metadata.restore(obj, own)
    if "status" in kind.subresources and not strategy.status_on_create:
        obj.pop("status", None)
    strategy.prepare_create(obj)
    strategy.complete_status(obj)
    causes = validate_metadata(obj, kind) + strategy.validate(obj) + strategy.validate_create(obj)
    causes += await strategy.judge(obj, None, causes)
    if causes:
        raise refusals.invalid(kind, named.name, causes)
    options.warnings.extend(strategy.warnings(obj))
    await pipeline.chain.validate(request)
    if request.guard is None or options.dry_run:
        return await _insert(pipeline, strategy, obj, options, invented=invented)
    guard, moves = request.guard, pipeline.moves[request.guard.name]
    async with pipeline.turns.take(guard.name):
        if pipeline.moves[guard.name] != moves:  # decided before this server knew of another one's writes
            guard.decide()
        return await _insert(pipeline, strategy, obj, options, invented=invented, guard=guard)


async def _insert(
    pipeline: Pipeline,
    strategy: Strategy,
    obj: Object,
    options: WriteOptions,
    *,
    invented: bool,
    guard: Guard | None = None,
) -> Result:
    kind, asked = strategy.kind, obj
    claimer = pipeline.claimers.get(kind)
    for _ in range(ATTEMPTS if guard else NAME_ATTEMPTS):
        obj = copy(asked) if claimer else asked  # what was claimed in vain must not look as if it had been asked for
        meta = obj["metadata"]
        key = pipeline.keys.key(kind, meta.get("namespace", ""), meta["name"])
        claims = claimer.claim(obj, None) if claimer else ()
        if options.dry_run:
            if await pipeline.read(key):
                raise refusals.already_exists(kind, asked["metadata"]["name"])
            return Result.of(obj, created=True)
        value = codec.encode(await strategy.store(obj) if strategy.translated else obj)
        ops = [Put(key, value, 0, strategy.ttl_seconds), *claims]
        if guard:
            ops.append(pipeline.guarding(guard.name))
        try:
            revision = await pipeline.commit(ops)
        except Mismatch as found:
            if guard and pipeline.guard_moved(guard.name, found):
                await pipeline.reads.reach("")
                guard.decide()
            elif found.current.get(key) is None:
                await pipeline.reads.reach("")  # only a claim was taken: learn which, and claim another
            elif invented:
                asked["metadata"]["name"] = metadata.generated(meta["generateName"])
            else:
                break
        else:
            if guard:
                pipeline.guards[guard.name] = revision
            data = codec.splice(value, revision)
            pipeline.remember(Held(key, data, revision))
            return Result(codec.with_version_of(obj, data) if strategy.translated else data, created=True)
    raise refusals.already_exists(kind, asked["metadata"]["name"])
