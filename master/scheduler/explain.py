"""Explains a pod: for every node what the plugins say of it now, by how much, and what would change it.

Pure but for trials in the snapshot, which are undone. For a pod that is bound, its own use is left out, so that the
scores are those that a decision made now would see.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from apimachinery.meta import key_of
from master.scheduler.cycle import Cycle
from master.scheduler.engine import Engine
from master.scheduler.framework import Refusal, unavailable
from master.scheduler.plugins.default_preemption import post_filter
from master.scheduler.shape import Key, PodShape

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One node. Of a refusing one: plugin, reason, detail, remedy; of a feasible one: the weighted scores."""

    node: str
    feasible: bool
    plugin: str = ""
    reason: str = ""
    detail: str = ""
    remedy: str = ""
    score: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Explanation:
    """``state`` is Scheduled, Unschedulable, Gated, Waiting or NotFound; feasible nodes first, best first."""

    state: str
    node: str = ""
    summary: str = ""
    nodes: list[Verdict] = field(default_factory=list)


def explain(engine: Engine, pod: Object | None, shape: PodShape | None) -> Explanation:
    """Why ``pod`` is where it is, or nowhere."""
    if pod is None or shape is None:
        return Explanation("NotFound", summary="there is no such pod, or it has finished")
    if shape.gates:
        return Explanation("Gated", summary=f"waits for the scheduling gates {', '.join(shape.gates)}")
    key = key_of(pod)
    bound = (pod.get("spec") or {}).get("nodeName") or ""
    placed = engine.snapshot.placements.get(key)
    with engine.without([key]):
        verdicts = _verdicts(engine, shape)
        if bound or placed:
            node = bound or (placed.node if placed else "")
            return Explanation("Scheduled", node, _why_there(node, verdicts), verdicts)
        return _waiting(engine, key, shape, verdicts)


def _waiting(engine: Engine, key: Key, shape: PodShape, verdicts: list[Verdict]) -> Explanation:
    decision = engine.decide(key, shape)
    if decision.node:
        return Explanation("Waiting", summary=f"is about to be tried again and fits on {decision.node}", nodes=verdicts)
    nomination = engine.nominations.get(key)
    if nomination:
        text = f"{decision.message} Room is being made on {nomination.node}."
        return Explanation("Unschedulable", nomination.node, text, verdicts)
    rescue = post_filter(engine, key, shape) if engine.snapshot.node_count else None
    words = rescue.message if rescue else ""
    return Explanation("Unschedulable", "", " ".join(w for w in (decision.message, words) if w), verdicts)


def _verdicts(engine: Engine, shape: PodShape) -> list[Verdict]:
    snap = engine.snapshot
    for plugin in engine.profile.filters:
        if plugin.relevant(shape, snap) and plugin.pre_filter(shape, snap):
            names = sorted(snap.names[row] for row in snap.rows.values() if snap.valid[row])
            refusal = plugin.explain(shape, snap, -1, 0)
            return [_verdict(name, plugin.name, refusal) for name in names]
    cycle = engine.cycle(shape)
    found = [*_feasible(cycle), *_refused(cycle)]
    return sorted(found, key=lambda v: (not v.feasible, -v.score, v.node))


def _feasible(cycle: Cycle) -> Iterator[Verdict]:
    snap, rows = cycle.snapshot, cycle.feasible()
    if not rows.size:
        return
    table = {plugin.name: plugin.weight * cycle.score(plugin, rows) for plugin in cycle.scorers}
    for position, row in enumerate(rows):
        scores = {name: float(column[position]) for name, column in table.items()}
        yield Verdict(snap.names[row], True, score=sum(scores.values()), scores=scores)


def _refused(cycle: Cycle) -> Iterator[Verdict]:
    snap = cycle.snapshot
    for row in snap.rows.values():
        if snap.valid[row] and cycle.refused[row]:
            plugin = cycle.filters[int(cycle.refused[row]) - 1]
            refusal = plugin.explain(cycle.shape, snap, row, int(cycle.codes[row]))
            yield _verdict(snap.names[row], plugin.name, refusal)


def _verdict(node: str, plugin: str, refusal: Refusal) -> Verdict:
    return Verdict(node, False, plugin, ", ".join(refusal.reasons), refusal.detail, refusal.remedy)


def _why_there(node: str, verdicts: list[Verdict]) -> str:
    here = next((v for v in verdicts if v.node == node), None)
    fit = sum(v.feasible for v in verdicts)
    others = unavailable(len(verdicts), {}).removeprefix("0/").removesuffix(" nodes are available:")
    if here is None:
        return f"is bound to {node}, which is not a node any more"
    if not here.feasible:
        return f"is bound to {node}; today that node would be refused: {here.reason}"
    rank = 1 + sum(v.feasible and v.score > here.score for v in verdicts)
    return f"is bound to {node}; {fit} of {others} nodes would take it now, {node} is number {rank} by score"
