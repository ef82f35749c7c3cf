"""What a kind adds to the one write pipeline.

A strategy is pure: it sees objects and nothing else. The pipeline (``store.py``) calls, for a create: ``default``,
admission mutate, ``default``, ``prepare_create``, ``validate``, admission validate, claims, etcd. Defaults run twice:
they are idempotent. Metadata that every kind has (name, uid, generation, timestamps, finalizers) and ``immutable``
are the pipeline's business; what must be unique in the cluster (service IPs) is that of ``claims.py``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import orjson

from apimachinery.errors import Cause
from apimachinery.scheme import Kind

from . import parts

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``: metav1.TableColumnDefinition plus how to fill its cell. Priority > 0: only wide."""

    name: str
    type: str
    value: Callable[[Object], object]
    format: str = ""
    priority: int = 0
    description: str = ""


class Strategy:
    """The generic strategy, and the base of those in ``kinds/``. One instance a kind."""

    immutable: ClassVar[tuple[str, ...]] = ()
    """Dotted paths that an update may not change, such as ``spec.selector``."""
    columns: tuple[Column, ...] = ()
    field_labels: Mapping[str, Callable[[Object], str]] = MappingProxyType({})
    """Selectable fields besides metadata.name and metadata.namespace. An absent value is "" (or "false")."""
    has_generation: ClassVar[bool] = True
    """Whether metadata.generation is kept: 1 at creation, +1 when anything but metadata and status changes."""
    unconditional_update: ClassVar[bool] = True
    """Whether an update without resourceVersion is allowed."""
    create_on_update: ClassVar[bool] = False
    """Whether PUT on a name that does not exist creates it (leases, events, endpoints... as upstream)."""
    default_propagation: ClassVar[str] = "Background"
    """What a delete without propagationPolicy does with dependents: Background or Orphan."""
    returns_deleted: ClassVar[bool] = False
    """Whether a delete that removes the object at once answers with it, not with a Status."""
    status_zeros: ClassVar[Mapping[str, Any] | None] = None
    """What a status always has, as it is a Go struct: ``{}`` = the empty status is shown; None = there may be none."""
    status_metadata: ClassVar[tuple[str, ...]] = ("labels", "annotations")
    """What of metadata a status write may change besides; upstream lets some kinds' change less."""
    status_on_create: ClassVar[bool] = False
    """Whether a new object may bring its status although that is a subresource (nodes)."""
    ttl_seconds: int = 0
    """Objects vanish this long after their last write (events); 0 = never."""

    deprecated: str = ""
    """What every REST client is told besides: since when the kind is deprecated, and what to use instead."""
    second_view: ClassVar[bool] = False
    """Whether objects are stored in another kind's form, which ``to_stored`` and ``shown`` translate: two groups serve
    events. Everything else here, and admission, sees the stored form."""

    translated: ClassVar[bool] = False
    """Whether objects are stored in another form than everything here and admission see, as those of custom kinds are:
    ``load`` and ``store`` translate."""
    replicas_path: str = "spec.replicas"
    """Where a Scale's replicas are."""
    open_api: Mapping[str, Any] | None = None
    """The schema that a custom kind publishes."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    async def load(self, data: bytes) -> bytes:
        """A stored object, with its resourceVersion, in the form of this kind. Raises ApiError."""
        return data

    async def store(self, obj: Object) -> Object:
        """An object of this kind in the form that is stored. Raises ApiError."""
        return obj

    async def converted(self, obj: Object) -> Object:
        """An object of another version of this kind as this one. Raises ApiError."""
        return obj

    def to_stored(self, obj: Object) -> None:
        """A body of this kind in the form that is stored, in place."""

    def shown(self, obj: Object) -> Object:
        """A stored object as this kind."""
        return obj

    def shown_bytes(self, data: bytes) -> bytes:
        """Cached bytes as clients of this kind see them; nearly always, as they are."""
        return orjson.dumps(self.shown(orjson.loads(data))) if self.second_view else data

    def default(self, obj: Object) -> None:
        """Fill in upstream's defaults, in place. Idempotent."""

    def prepare_create(self, obj: Object) -> None:
        """Set and clear what only the server decides on a new object; status is gone if it is a subresource."""

    def prepare_update(self, obj: Object, old: Object) -> None:
        """The same for a main update; status already equals ``old``'s."""

    def prepare_status(self, obj: Object, old: Object) -> None:
        """The same for a status update; everything but status and ``status_metadata`` already equals ``old``'s."""

    def validate(self, obj: Object) -> list[Cause]:
        return []

    def validate_create(self, obj: Object) -> list[Cause]:
        """Called besides ``validate``: what only a new object may not have."""
        return []

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        """Called besides ``validate``: what depends on the old object."""
        return []

    def validate_change(self, obj: Object, old: Object) -> list[Cause]:
        """All that is wrong with an update."""
        return self.validate(obj) + self.validate_update(obj, old)

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        return []

    async def judge(self, obj: Object, old: Object | None, causes: list[Cause]) -> list[Cause]:
        """Called last, for any write but to such a part as below: what may take long to find. ``causes``: what has
        been found already."""
        return []

    def validate_part(self, part: str, obj: Object, old: Object) -> list[Cause]:
        """Called in place of the others for a write to a subresource that changes one part of the spec (finalize,
        ephemeralcontainers, resize, approval): everything else already equals ``old``'s."""
        return []

    def warnings(self, obj: Object) -> list[str]:
        """What a client should be told about an object that is accepted all the same."""
        return []

    def complete_status(self, obj: Object) -> None:
        """Add what upstream writes of a status even when it is empty."""
        if self.status_zeros is not None:
            obj["status"] = {**self.status_zeros, **(obj.get("status") or {})}

    def to_scale(self, obj: Object) -> Object:
        """The ``autoscaling/v1`` Scale of a workload."""
        return parts.to_scale(self.kind, obj)

    def from_scale(self, wanted: Object, old: Object) -> Object:
        """The workload with the replicas of a Scale. Raises BadRequest."""
        return parts.from_scale(wanted, old, self.replicas_path)

    def grace_period(self, obj: Object, requested: int | None) -> int:
        """Seconds that a deleted object stays until its agent confirms the deletion. 0 = it goes at once."""
        return 0

    def holders(self, obj: Object) -> Sequence[str]:
        """Who must let go before a deleted object is removed: its finalizers."""
        return (obj.get("metadata") or {}).get("finalizers") or ()

    def mark_deleted(self, obj: Object) -> None:
        """Change what else a deletion changes while the object stays (a namespace's phase)."""
