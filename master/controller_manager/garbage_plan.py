"""What garbage collection does about one object. Pure.

Source: ``pkg/controller/garbagecollector/garbagecollector.go``. Policies are finalizers of the owner: ``orphan``
(strip the reference from all dependents first), ``foregroundDeletion`` (wait until the dependents that block are
gone); with neither, dependents follow after their owner.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from apimachinery.meta import Object, is_deleting, owner_references, uid_of

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


class OwnerState(Enum):
    """Of an owner reference: ``UNKNOWN`` is an owner of a kind that is not served now."""

    SOLID = "solid"
    WAITING = "waiting"  # being deleted in the foreground: it waits for this object
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Verb(Enum):
    NOTHING = "nothing"
    RETRY = "retry"  # something is not known yet
    UPDATE = "update"  # replace the owner references
    DELETE = "delete"


@dataclass(frozen=True)
class Action:
    verb: Verb
    references: Sequence[Object] = ()
    policy: str = ""


def finalizers_of(obj: Object) -> list[str]:
    return obj["metadata"].get("finalizers") or []


def is_deleting_in(obj: Object, finalizer: str) -> bool:
    return is_deleting(obj) and finalizer in finalizers_of(obj)


def state_of_owner(reference: Object, found: Object | None) -> OwnerState:
    """``found`` is the object that has the reference's kind and name."""
    if found is None or uid_of(found) != reference["uid"]:
        return OwnerState.ABSENT
    return OwnerState.WAITING if is_deleting_in(found, FOREGROUND) else OwnerState.SOLID


def plan(obj: Object, states: Mapping[str, OwnerState], dependents: Sequence[Object]) -> Action:
    """What to do about ``obj``, which is not being deleted. ``states``: of its owners, by their uids."""
    references = owner_references(obj)
    of = [states[r["uid"]] for r in references]
    if not references or all(s is OwnerState.SOLID for s in of):
        return Action(Verb.NOTHING)
    if OwnerState.SOLID in of:
        # Someone still wants it: only the references to the others go.
        kept = [r for r, s in zip(references, of, strict=True) if s in {OwnerState.SOLID, OwnerState.UNKNOWN}]
        return Action(Verb.UPDATE, kept) if len(kept) < len(references) else Action(Verb.NOTHING)
    if OwnerState.UNKNOWN in of:
        return Action(Verb.RETRY)
    if OwnerState.WAITING in of and dependents:
        return Action(Verb.DELETE, policy="Foreground")
    return Action(Verb.DELETE, policy=_own_policy(obj))


def _own_policy(obj: Object) -> str:
    if ORPHAN in finalizers_of(obj):
        return "Orphan"
    return "Foreground" if FOREGROUND in finalizers_of(obj) else "Background"


def closes_a_circle(dependents: Iterable[Object]) -> bool:
    """Whether a dependent is itself deleted in the foreground: each would wait for the other for ever."""
    return any(is_deleting_in(d, FOREGROUND) for d in dependents)


def unblocked(references: Iterable[Object]) -> list[Object]:
    return [{k: v for k, v in r.items() if k != "blockOwnerDeletion"} for r in references]


def blocks(dependent: Object, owner_uid: str) -> bool:
    """Whether the owner's foreground deletion waits for this dependent."""
    return any(r["uid"] == owner_uid and r.get("blockOwnerDeletion") for r in owner_references(dependent))
