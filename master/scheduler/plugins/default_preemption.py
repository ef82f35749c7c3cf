"""DefaultPreemption (PostFilter): find the node where deleting the fewest, least important pods lets a pod in.

Source: upstream's ``preemption.Evaluator`` and ``pickOneNodeForPreemption``.
"""

from collections import Counter
from dataclasses import dataclass

from master.scheduler.cycle import Cycle
from master.scheduler.disruption import violating
from master.scheduler.engine import Engine, verdicts
from master.scheduler.framework import Rescue, unavailable
from master.scheduler.shape import Key, PodShape
from master.scheduler.snapshot import Placement

_MIN_CANDIDATES, _CANDIDATE_PERCENT = 100, 10
_NO_HELP, _NO_VICTIMS = "Preemption is not helpful for scheduling", "No preemption victims found for incoming pod"
_UNSTARTED = "9999"  # sorts after every timestamp


@dataclass(frozen=True, slots=True)
class _Candidate:
    row: int
    victims: list[tuple[Key, Placement]]  # most important first
    violations: int

    def cost(self) -> tuple[object, ...]:
        """Smaller is better, criterion by criterion in upstream's order; of equals the latest start wins."""
        priorities = [p.shape.priority for _, p in self.victims]
        top = [_started(p) for _, p in self.victims if p.shape.priority == max(priorities)]
        newest_first = tuple(-ord(c) for c in min(top))
        return self.violations, max(priorities), sum(p + 2**31 for p in priorities), len(priorities), newest_first


def _started(placement: Placement) -> str:
    return ((placement.pod or {}).get("status") or {}).get("startTime") or _UNSTARTED


def post_filter(engine: Engine, key: Key, shape: PodShape) -> Rescue:
    """Where to make room for a pod that fits nowhere; pure but for trials in the snapshot, which are undone."""
    if not shape.preempts:
        return Rescue(message="preemption: not eligible due to preemptionPolicy=Never.", keep=True)
    if _room_is_being_made(engine, key, shape):
        return Rescue(message="preemption: not eligible due to a terminating pod on the nominated node.", keep=True)
    snap, cycle = engine.snapshot, engine.cycle(shape)
    reasons: Counter[str] = Counter()
    candidates: list[_Candidate] = []
    enough = max(_MIN_CANDIDATES, snap.node_count * _CANDIDATE_PERCENT // 100)
    for row in _potential(cycle):
        if len(candidates) == enough:
            break
        found = _victims_on(engine, cycle, row)
        if isinstance(found, _Candidate):
            candidates.append(found)
        else:
            reasons.update(found)
    if candidates:
        best = min(candidates, key=_Candidate.cost)
        return Rescue(snap.names[best.row], tuple(victim for victim, _ in best.victims))
    reasons[_NO_HELP] += snap.node_count - reasons.total()
    return Rescue(message=f"preemption: {unavailable(snap.node_count, +reasons)}")


def _room_is_being_made(engine: Engine, key: Key, shape: PodShape) -> bool:
    nomination = engine.nominations.get(key)
    row = engine.snapshot.rows.get(nomination.node, -1) if nomination else -1
    return row >= 0 and any(
        p.leaving and p.shape.priority < shape.priority for p in engine.snapshot.pods_on[row].values()
    )


def _potential(cycle: Cycle) -> list[int]:
    """The rows whose refusal could be lifted by removing pods."""
    shape, snap = cycle.shape, cycle.snapshot
    groups = list(verdicts(cycle))
    return [int(row) for plugin, code, rows in groups for row in rows if plugin.resolvable(shape, snap, int(row), code)]


def _victims_on(engine: Engine, cycle: Cycle, row: int) -> _Candidate | tuple[str, ...]:
    """The pods to delete on one node, or why deleting does not help there."""
    snap, shape = engine.snapshot, cycle.shape
    lower = [(k, p) for k, p in snap.pods_on[row].items() if p.shape.priority < shape.priority]
    if not lower:
        return (_NO_VICTIMS,)
    lower.sort(key=lambda item: (-item[1].shape.priority, _started(item[1])))
    with engine.without([k for k, _ in lower]):
        cycle.refresh()
        if cycle.refused[row]:
            plugin = cycle.filters[int(cycle.refused[row]) - 1]
            return plugin.reasons(shape, snap, row, int(cycle.codes[row]))
        protected = violating(snap, lower)
        victims: set[Key] = set()
        for victim, placement in sorted(lower, key=lambda item: item[0] not in protected):
            snap.restore(victim, placement)  # try to spare it, those protected by a budget first
            cycle.refresh()
            if cycle.refused[row]:
                snap.remove(victim)
                victims.add(victim)
    return _Candidate(row, [item for item in lower if item[0] in victims], len(victims & protected))
