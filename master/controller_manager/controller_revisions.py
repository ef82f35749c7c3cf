"""The history of a DaemonSet's or StatefulSet's template: ControllerRevisions.

A revision is found again by its content, not its name, so that going back to an old template restarts nothing
that has it already. ``kubectl rollout history`` and ``undo`` read these.
Source: ``pkg/controller/history`` and ``pkg/controller/daemon/update.go``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from apimachinery.client.api import ApiClient, Write
from apimachinery.client.informer import Informer
from apimachinery.errors import AlreadyExists, ApiError, NotFound
from apimachinery.meta import (
    Object,
    annotations_of,
    is_controlled_by,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
)
from apimachinery.scheme import Kind, kind_of
from apimachinery.selectors import from_object
from master.controller_manager import ownership
from master.controller_manager.status import same, write_status
from master.controller_manager.template_hash import compute_hash

CONTROLLER_REVISIONS = kind_of("controllerrevisions", "apps")
HASH_LABEL = "controller-revision-hash"
_DEFAULT_HISTORY = 10


@dataclass(frozen=True)
class History:
    """``current`` has the owner's template; ``old`` are the others, lowest revision first."""

    current: Object
    old: Sequence[Object]

    @property
    def hash(self) -> str:
        return labels_of(self.current).get(HASH_LABEL, "")


def data_of(owner: Object) -> Object:
    """What a revision stores: a patch that puts the template back, with its keys in order, since clients that look for
    an owner's current revision (upstream's ``daemon.Match``) compare the bytes with what Go encodes."""
    patch = {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}
    return dict(orjson.loads(orjson.dumps(patch, option=orjson.OPT_SORT_KEYS)))


def new_revision(owner: Object, kind: Kind, number: int) -> Object:
    status = owner.get("status") or {}
    hash_ = compute_hash(owner["spec"]["template"], int(status.get("collisionCount") or 0))
    labels = {**((owner["spec"]["template"].get("metadata") or {}).get("labels") or {}), HASH_LABEL: hash_}
    return {
        "apiVersion": CONTROLLER_REVISIONS.api_version,
        "kind": CONTROLLER_REVISIONS.kind,
        "metadata": {
            "name": f"{name_of(owner)}-{hash_}",
            "namespace": namespace_of(owner),
            "labels": labels,
            "annotations": dict(annotations_of(owner)),
            "ownerReferences": [owner_reference(owner, kind)],
        },
        "data": data_of(owner),
        "revision": number,
    }


class Revisions:
    """Keeps the history of owners of one kind."""

    def __init__(self, client: ApiClient, kind: Kind, informer: Informer) -> None:
        self._client = client
        self._kind = kind
        self._informer = informer
        ownership.add_index(informer)

    async def of(self, owner: Object) -> History | None:
        """The history, with a revision for the template as it is now.

        None if the name of the new revision is taken: the owner's count of collisions has been raised.
        """
        selector = from_object(owner["spec"].get("selector"))
        revisions = await ownership.claim(self._client, owner, self._kind, selector, self._informer)
        revisions = sorted(revisions, key=lambda r: (int(r.get("revision") or 0), name_of(r)))
        wanted = data_of(owner)
        equal = [r for r in revisions if same(r.get("data"), wanted)]
        highest = int(revisions[-1].get("revision") or 0) if revisions else 0
        if not equal:
            made = await self._create(owner, highest + 1)
            return History(made, revisions) if made else None
        current = equal[-1]
        old = [r for r in revisions if r is not current]
        if int(current.get("revision") or 0) < highest:
            current = await self._client.update(CONTROLLER_REVISIONS, {**current, "revision": highest + 1})
        return History(current, old)

    async def _create(self, owner: Object, number: int) -> Object | None:
        new = new_revision(owner, self._kind, number)
        try:
            return await self._client.create(CONTROLLER_REVISIONS, new)
        except AlreadyExists:
            there = await self._client.get(CONTROLLER_REVISIONS, name_of(new), namespace_of(new))
            if is_controlled_by(there, owner) and same(there.get("data"), new["data"]):
                return there
            status = owner.get("status") or {}
            collisions = int(status.get("collisionCount") or 0) + 1
            await write_status(self._client, self._kind, owner, {**status, "collisionCount": collisions})
            return None

    async def clean_up(self, owner: Object, history: History, used: set[str]) -> None:
        """Delete the oldest revisions beyond ``revisionHistoryLimit`` whose hash or name no pod has (``used``)."""
        limit = owner["spec"].get("revisionHistoryLimit")
        surplus = len(history.old) - int(_DEFAULT_HISTORY if limit is None else limit)
        free = [r for r in history.old if not {labels_of(r).get(HASH_LABEL), name_of(r)} & used]
        writes = [
            Write.delete(CONTROLLER_REVISIONS, name_of(r), namespace_of(r), uid=uid_of(r))
            for r in free[: max(0, surplus)]
        ]
        for result in await self._client.write(writes):
            if isinstance(result, ApiError) and not isinstance(result, NotFound):
                raise result
