"""How big each ReplicaSet of a Deployment should be now. Pure.

Source: ``pkg/controller/deployment/{rolling,recreate,sync}.go``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from apimachinery.meta import Object, annotations_of, uid_of
from master.controller_manager.deployment_revisions import DESIRED, MAXIMUM, Sets, surge_and_unavailable
from master.controller_manager.replicaset import replicas_of


@dataclass(frozen=True)
class Step:
    """What to do now. ``create``: make the new set with so many replicas. ``sizes``: (set, replicas)."""

    create: int | None = None
    sizes: Sequence[tuple[Object, int]] = field(default_factory=tuple)


def available_of(one: Object) -> int:
    return int((one.get("status") or {}).get("availableReplicas") or 0)


def total(sets: Sequence[Object]) -> int:
    return sum(replicas_of(s) for s in sets)


def plan(deployment: Object, sets: Sets, old_pods_live: bool) -> Step:
    """The next step. ``old_pods_live``: pods of old sets exist that have not finished (for Recreate)."""
    if deployment["spec"].get("paused") or is_scaling(deployment, sets):
        return Step(sizes=proportional(deployment, sets))
    if _is_recreate(deployment):
        return _recreate(deployment, sets, old_pods_live)
    return _roll(deployment, sets)


def is_scaling(deployment: Object, sets: Sets) -> bool:
    """Whether ``replicas`` changed since the sets were last sized: they remember for how many they were."""
    wanted = str(replicas_of(deployment))
    active = [s for s in sets.all if replicas_of(s) > 0]
    if len(active) > 1 and _is_recreate(deployment):
        return False  # the old ones go in any case
    return any(annotations_of(s).get(DESIRED, wanted) != wanted for s in active)


def _is_recreate(deployment: Object) -> bool:
    return (deployment["spec"].get("strategy") or {}).get("type") == "Recreate"


def _recreate(deployment: Object, sets: Sets, old_pods_live: bool) -> Step:
    active = [s for s in sets.old if replicas_of(s) > 0]
    if active:
        return Step(sizes=[(s, 0) for s in active])
    if old_pods_live:
        return Step()
    return _to_full_size(deployment, sets.new)


def _to_full_size(deployment: Object, new: Object | None) -> Step:
    wanted = replicas_of(deployment)
    if new is None:
        return Step(create=wanted)
    return Step(sizes=[(new, wanted)] if replicas_of(new) != wanted else [])


def _roll(deployment: Object, sets: Sets) -> Step:
    size = new_set_size(deployment, sets)
    if sets.new is None:
        return Step(create=size)
    if size != replicas_of(sets.new):
        return Step(sizes=[(sets.new, size)])
    return Step(sizes=_shrink_old(deployment, sets, sets.new))


def new_set_size(deployment: Object, sets: Sets) -> int:
    """As many as the surge allows on top of what the old sets have."""
    wanted = replicas_of(deployment)
    have = replicas_of(sets.new) if sets.new is not None else 0
    if have >= wanted:
        return wanted
    if _is_recreate(deployment):
        return wanted
    surge, _ = surge_and_unavailable(deployment)
    room = wanted + surge - total(sets.all)
    return have + max(0, min(room, wanted - have))


def _shrink_old(deployment: Object, sets: Sets, new: Object) -> list[tuple[Object, int]]:
    """First the pods of old sets that serve nobody, then as many of the others as may be missing."""
    _, unavailable = surge_and_unavailable(deployment)
    minimum = replicas_of(deployment) - unavailable
    new_missing = replicas_of(new) - available_of(new)
    budget = total(sets.all) - minimum - new_missing
    if total(sets.old) == 0 or budget <= 0:
        return []
    sizes = {uid_of(s): replicas_of(s) for s in sets.old}
    for one in sets.old:
        unhealthy = max(0, sizes[uid_of(one)] - available_of(one))
        taken = min(budget, unhealthy)
        sizes[uid_of(one)] -= taken
        budget -= taken
    spare = sum(available_of(s) for s in sets.all) - minimum
    for one in sets.old:
        taken = min(max(0, spare), sizes[uid_of(one)])
        sizes[uid_of(one)] -= taken
        spare -= taken
    return [(s, sizes[uid_of(s)]) for s in sets.old if sizes[uid_of(s)] != replicas_of(s)]


def proportional(deployment: Object, sets: Sets) -> list[tuple[Object, int]]:
    """Spread a change of ``replicas`` over the sets, while a rollout is under way."""
    wanted = replicas_of(deployment)
    active = [s for s in sets.all if replicas_of(s) > 0]
    if len(active) <= 1:
        only = active[0] if active else sets.new or (sets.old[-1] if sets.old else None)
        return [(only, wanted)] if only is not None else []
    if sets.new is not None and _is_saturated(sets.new, wanted):
        return [(s, 0) for s in active if s is not sets.new]
    if _is_recreate(deployment):
        return []
    surge, _ = surge_and_unavailable(deployment)
    to_add = (wanted + surge if wanted > 0 else 0) - total(active)
    return _spread(deployment, active, to_add, wanted + surge)


def _is_saturated(new: Object, wanted: int) -> bool:
    desired = annotations_of(new).get(DESIRED)
    return replicas_of(new) == wanted and desired == str(wanted) and available_of(new) == wanted


def _spread(deployment: Object, active: list[Object], to_add: int, allowed: int) -> list[tuple[Object, int]]:
    # Biggest first; of equal ones the newest first when growing and the oldest first when shrinking.
    by_age = sorted(active, key=lambda s: s["metadata"].get("creationTimestamp") or "", reverse=to_add > 0)
    ordered = sorted(by_age, key=replicas_of, reverse=True)
    sizes, added = [], 0
    for one in ordered:
        share = _share(deployment, one, to_add, added, allowed) if to_add else 0
        sizes.append(replicas_of(one) + share)
        added += share
    sizes[0] = max(0, sizes[0] + to_add - added)
    return list(zip(ordered, sizes, strict=True))


def _share(deployment: Object, one: Object, to_add: int, added: int, allowed: int) -> int:
    if replicas_of(deployment) == 0:
        share = -replicas_of(one)
    else:
        before = int(annotations_of(one).get(MAXIMUM) or 0)
        before = before or int((deployment.get("status") or {}).get("replicas") or 0)
        share = (_round_half_up(replicas_of(one) * allowed, before) if before else 0) - replicas_of(one)
    left = to_add - added
    return min(share, left) if to_add > 0 else max(share, left)


def _round_half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def pods_live(sets: Sets, pods: dict[str, list[Object]]) -> bool:
    """Whether a pod of an old set, being deleted or not, has not finished. ``pods`` by their set's uid."""
    return any(
        (pod.get("status") or {}).get("phase") not in {"Failed", "Succeeded"}
        for one in sets.old
        for pod in pods.get(uid_of(one), ())
    )
