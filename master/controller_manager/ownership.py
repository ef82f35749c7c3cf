"""Which dependents a controller owns: it adopts orphans that its selector matches, and releases its own that it
no longer matches.

Source: ``pkg/controller/controller_ref_manager.go``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from apimachinery.client.api import ApiClient, Write
from apimachinery.client.informer import Informer
from apimachinery.errors import ApiError, Invalid, NotFound
from apimachinery.meta import (
    Key,
    Object,
    controller_of,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    owner_references,
    uid_of,
)
from apimachinery.scheme import Kind
from apimachinery.selectors import LabelSelector, from_object

_INDEX = "controller"


@dataclass(frozen=True)
class Claim:
    """``mine`` is owned already and stays so."""

    mine: list[Object]
    adopt: list[Object]
    release: list[Object]


def concerned_keys(obj: Object, kind: Kind, owners: Informer) -> list[Key]:
    """Whom a change of a dependent concerns: its controller, or every owner that might adopt it as an orphan.

    ``owners`` must have the index ``namespace``. Nobody adopts what is being deleted.
    """
    if controller_of(obj) is not None:
        return owner_keys(obj, kind)
    if is_deleting(obj):
        return []
    found = owners.store.by_index("namespace", namespace_of(obj))
    return [key_of(o) for o in found if from_object(o["spec"].get("selector")).matches(labels_of(obj))]


def plan(owner: Object, selector: LabelSelector, candidates: Iterable[Object]) -> Claim:
    """Sort the candidates. An owner that is being deleted keeps what it has and takes nothing."""
    claim = Claim([], [], [])
    for obj in candidates:
        reference, matches = controller_of(obj), selector.matches(labels_of(obj))
        if reference is not None:
            if reference["uid"] != uid_of(owner):
                continue
            if matches:
                claim.mine.append(obj)
            elif not is_deleting(owner):
                claim.release.append(obj)
        elif matches and not is_deleting(owner) and not is_deleting(obj):
            claim.adopt.append(obj)
    return claim


def add_index(informer: Informer) -> None:
    """Index dependents by the uid of their controller, and orphans by their namespace."""
    informer.add_index(_INDEX, _index_values)


def _index_values(obj: Object) -> list[str]:
    reference = controller_of(obj)
    return [reference["uid"] if reference else f"orphan/{namespace_of(obj)}"]


def owned(informer: Informer, owner: Object) -> list[Object]:
    """The objects whose controller is ``owner``, by its uid."""
    return informer.store.by_index(_INDEX, uid_of(owner))


def orphans(informer: Informer, namespace: str) -> list[Object]:
    return informer.store.by_index(_INDEX, f"orphan/{namespace}")


def owner_keys(obj: Object, kind: Kind) -> list[Key]:
    """The key of the controller of ``obj``, if that is of ``kind``."""
    reference = controller_of(obj)
    if reference is None or reference["kind"] != kind.kind or reference["apiVersion"] != kind.api_version:
        return []
    return [(namespace_of(obj), reference["name"])]


async def claim(
    client: ApiClient, owner: Object, owner_kind: Kind, selector: LabelSelector, informer: Informer
) -> list[Object]:
    """The objects in ``informer`` that ``owner`` owns, after adopting and releasing. Raises ApiError."""
    candidates = [*owned(informer, owner), *orphans(informer, namespace_of(owner))]
    found = plan(owner, selector, candidates)
    adopted = await _adopt(client, owner, owner_kind, found.adopt, informer.kind) if found.adopt else []
    if found.release:
        await _release(client, owner, found.release, informer.kind)
    return [*found.mine, *adopted]


async def _adopt(client: ApiClient, owner: Object, owner_kind: Kind, objects: list[Object], kind: Kind) -> list[Object]:
    # The cached owner may be gone: adopting for a dead owner would get the object collected as garbage.
    fresh = await client.get(owner_kind, name_of(owner), namespace_of(owner))
    if uid_of(fresh) != uid_of(owner):
        raise NotFound(f"original {owner_kind.kind} {name_of(owner)} is gone")
    if is_deleting(fresh):
        return []
    reference = owner_reference(owner, owner_kind)
    results = await client.write([_references_patch(kind, o, [*owner_references(o), reference]) for o in objects])
    return [r for r in results if not isinstance(_unless_gone(r), ApiError)]  # type: ignore[misc]


async def _release(client: ApiClient, owner: Object, objects: list[Object], kind: Kind) -> None:
    rest = [[r for r in owner_references(obj) if r["uid"] != uid_of(owner)] for obj in objects]
    await set_references(client, kind, list(zip(objects, rest, strict=True)))


async def set_references(client: ApiClient, kind: Kind, changes: list[tuple[Object, list[Object]]]) -> None:
    """Give objects, as they were read, other owner references; what is gone is passed over. Raises ApiError."""
    for result in await client.write([_references_patch(kind, obj, refs) for obj, refs in changes]):
        _unless_gone(result)


def _references_patch(kind: Kind, obj: Object, references: list[Object]) -> Write:
    # With uid and version: neither a namesake nor someone else's new reference may be overwritten.
    metadata = {
        "uid": uid_of(obj),
        "resourceVersion": obj["metadata"].get("resourceVersion"),
        "ownerReferences": references or None,
    }
    return Write.patch(kind, name_of(obj), namespace_of(obj), {"metadata": metadata})


def _unless_gone(result: Object | ApiError) -> Object | ApiError:
    """Pass on a success or a NotFound (nothing to do any more); raise any other error."""
    if isinstance(result, ApiError) and not isinstance(result, NotFound | Invalid):
        raise result
    return result


def by_name(objects: Iterable[Object]) -> list[Object]:
    return sorted(objects, key=key_of)
