"""Delete and deletecollection: an object goes at once, or is marked and goes when nothing holds it any more."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from apimachinery.errors import ApiError, Conflict
from apimachinery.scheme import Kind

from ..auth.user import User
from ..storage import codec
from ..storage.entry import Entry
from ..storage.interface import Delete, Put
from ..storage.pages import Page
from . import deletion, refusals
from .answers import WriteOptions
from .deletion import DeleteOptions
from .pipeline import ATTEMPTS, Held, Lost, Pipeline, Result, Target, admission
from .reads import Listing
from .selection import Selection
from .strategy import Strategy

Object = dict[str, Any]


async def delete(pipeline: Pipeline, user: User, target: Target, options: DeleteOptions, write: WriteOptions) -> Result:
    """The object if it stays for a while or its kind answers with it, else a Status of success."""
    write.dry_run = write.dry_run or options.dry_run
    held = pipeline.cached(target)
    for _ in range(ATTEMPTS):
        held = held or await pipeline.read(pipeline.key(target))
        if held is None:
            raise refusals.not_found(target.kind, target.name)
        try:
            return await _attempt(pipeline, user, target, options, write, held)
        except Lost as lost:
            held = lost.current
        except Conflict:
            newest = await pipeline.read(held.key)  # a precondition may have failed on an old copy only
            if newest is None or newest.revision == held.revision:
                raise
            held = newest
    raise refusals.conflict(target.kind, target.name)


async def _attempt(
    pipeline: Pipeline, user: User, target: Target, options: DeleteOptions, write: WriteOptions, held: Held
) -> Result:
    strategy = pipeline.catalog.strategy(target.kind)
    data = await strategy.load(held.data) if strategy.translated else held.data
    old = codec.decode(data)
    deletion.check_preconditions(target.kind, old, options)
    write.told = options.to_json()
    request = admission(user, "DELETE", target, None, old, write)
    await pipeline.chain.mutate(request)
    await pipeline.chain.validate(request)
    outcome = deletion.plan(strategy, codec.decode(data), options, datetime.now(UTC))
    if outcome.remove:
        await remove(pipeline, target.kind, old, held, write)
        return _answer(strategy, old)
    if outcome.obj is None or write.dry_run:
        return Result(data, old)
    stored = await strategy.store(outcome.obj) if strategy.translated else outcome.obj
    value = codec.encode(stored)
    written = await pipeline.replace(held, value, [Put(held.key, value, held.revision)])
    return Result(written if stored is outcome.obj else codec.with_version_of(outcome.obj, written))


async def remove(pipeline: Pipeline, kind: Kind, obj: Object, held: Held, options: WriteOptions) -> None:
    """Take an object away for good. Raises Lost."""
    if not options.dry_run:
        claimer = pipeline.claimers.get(kind)
        releases = claimer.release(obj) if claimer else ()
        await pipeline.commit_change(held, [Delete(held.key, held.revision), *releases])


def _answer(strategy: Strategy, obj: Object) -> Result:
    """What a delete tells of what it took away."""
    if strategy.returns_deleted:
        return Result.of(obj)
    kind = strategy.kind
    about = {"name": obj["metadata"]["name"], "group": kind.group, "kind": kind.resource}
    about["uid"] = obj["metadata"].get("uid", "")
    details = {k: v for k, v in about.items() if v}
    return Result.of({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})


async def delete_collection(
    pipeline: Pipeline, user: User, target: Target, selection: Selection, options: DeleteOptions, write: WriteOptions
) -> Listing:
    """Delete each of the selected objects by itself; what vanishes meanwhile is as good as deleted."""
    await pipeline.reads.reach("")
    wanted = selection.wanted()
    selected = (await pipeline.reads.shown(target.kind)).select(selection.namespace)
    entries = [e for e in selected if wanted is None or wanted(e)]

    async def one(entry: Entry) -> None:
        try:
            await delete(pipeline, user, Target(target.kind, entry.namespace, entry.name), options, write)
        except ApiError as refused:
            if refused.status_code != 404:
                raise

    for at in range(0, len(entries), 64):
        await asyncio.gather(*(one(e) for e in entries[at : at + 64]))
    return Listing(Page(entries, 0), pipeline.reads.cache.revision)
