"""Deltas equal a rebuild, cached cycles equal fresh ones, and vectorised filters equal a naive reference."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from master.scheduler.cycle import Cycle
from master.scheduler.engine import Engine
from master.scheduler.profile import DEFAULT_PROFILE
from master.scheduler.shape import parse
from master.scheduler.snapshot import Snapshot
from tests.scheduling import node, pod, required_affinity, required_anti_affinity, term

Object = dict[str, Any]
ZONE = "topology.kubernetes.io/zone"
NODES, PODS, APPS, ZONES = ("n0", "n1", "n2", "n3"), ("p0", "p1", "p2", "p3", "p4", "p5"), ("web", "db"), ("x", "y")


@st.composite
def nodes(draw: st.DrawFn) -> Object:
    labels = {ZONE: z} if (z := draw(st.sampled_from([None, *ZONES]))) else {}
    taints = draw(
        st.sampled_from([[], [{"key": "k", "effect": "NoSchedule"}], [{"key": "k", "effect": "PreferNoSchedule"}]])
    )
    return node(draw(st.sampled_from(NODES)), labels=labels, taints=taints, cpu=draw(st.sampled_from(["1", "2", "4"])))


@st.composite
def pods(draw: st.DrawFn) -> Object:
    spec: Object = {
        "cpu": draw(st.sampled_from(["100m", "1", "1500m"])),
        "labels": {"app": draw(st.sampled_from(APPS))},
    }
    rule = term(draw(st.sampled_from([ZONE, "kubernetes.io/hostname"])), app=draw(st.sampled_from(APPS)))
    extra = draw(st.sampled_from(["", "affinity", "anti", "spread", "port", "selector", "toleration"]))
    if extra == "affinity":
        spec["affinity"] = required_affinity(rule)
    elif extra == "anti":
        spec["affinity"] = required_anti_affinity(rule)
    elif extra == "spread":
        spec["topologySpreadConstraints"] = [rule | {"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]
    elif extra == "port":
        spec["host_port"] = 80
    elif extra == "selector":
        spec["nodeSelector"] = {ZONE: "x"}
    elif extra == "toleration":
        spec["tolerations"] = [{"key": "k", "operator": "Exists"}]
    return pod(draw(st.sampled_from(PODS)), **spec)


changes = st.one_of(
    st.tuples(st.just("node"), nodes()),
    st.tuples(st.just("drop node"), st.sampled_from(NODES)),
    st.tuples(st.just("place"), st.tuples(pods(), st.sampled_from(NODES))),
    st.tuples(st.just("drop pod"), st.sampled_from(PODS)),
)


def apply(snapshot: Snapshot, change: tuple[str, Any]) -> None:
    verb, what = change
    if verb == "node":
        snapshot.set_node(what)
    elif verb == "drop node":
        snapshot.remove_node(what)
    elif verb == "place":
        obj, name = what
        snapshot.place(("default", obj["metadata"]["name"]), parse(obj), name, obj)
    else:
        snapshot.remove(("default", what))


def rebuilt(snapshot: Snapshot) -> Snapshot:
    fresh = Snapshot()
    for obj in snapshot.nodes:
        if obj is not None:
            fresh.set_node(obj)
    for key, placement in snapshot.placements.items():
        fresh.place(key, placement.shape, placement.node, placement.pod)
    return fresh


def state(snapshot: Snapshot) -> Object:
    """What the arrays say, by name instead of row."""

    def column(table: dict[str, Any]) -> Object:
        cells = {(n, r): int(c[row]) for n, c in table.items() for r, row in snapshot.rows.items()}
        return {k: v for k, v in cells.items() if v}

    carriers = {k: column({"": c.counts}) for k, c in snapshot.census.carriers.items()}
    ports = {port: column(users) for port, users in snapshot.ports.items()}
    return {
        "allocatable": column(snapshot.allocatable),
        "requested": column(snapshot.requested),
        "scored": column({"cpu": snapshot.scored_cpu, "memory": snapshot.scored_memory}),
        "valid": {n for n, row in snapshot.rows.items() if snapshot.valid[row]},
        "zones": {n: snapshot.label(ZONE).ids[row] >= 0 for n, row in snapshot.rows.items()},
        "taints": {n: snapshot.taint_sets[snapshot.taint_set[row]] for n, row in snapshot.rows.items()},
        "carriers": carriers,
        "ports": {port: cells for port, cells in ports.items() if cells},
    }


@settings(max_examples=150, deadline=None)
@given(st.lists(changes, max_size=25))
def test_deltas_equal_a_rebuild(history: list[tuple[str, Any]]) -> None:
    snapshot = Snapshot()
    for change in history:
        apply(snapshot, change)
    assert state(snapshot) == state(rebuilt(snapshot))


@settings(max_examples=100, deadline=None)
@given(st.lists(changes, max_size=20), pods())
def test_a_cycle_kept_through_changes_equals_a_fresh_one(history: list[tuple[str, Any]], obj: Object) -> None:
    snapshot, shape = Snapshot(), parse(obj)
    kept = Engine(snapshot, DEFAULT_PROFILE).cycle(shape)
    for change in history:
        apply(snapshot, change)
        kept.refresh()
        if len(kept.feasible()):
            kept.total(kept.feasible())
    fresh = Cycle(shape, DEFAULT_PROFILE, snapshot)
    fresh.refresh()
    rows = np.flatnonzero(snapshot.valid)
    assert kept.refused[rows].tolist() == fresh.refused[rows].tolist()
    assert kept.codes[rows].tolist() == fresh.codes[rows].tolist()
    if len(fresh.feasible()):
        assert kept.total(kept.feasible()).tolist() == fresh.total(fresh.feasible()).tolist()


def naive(snapshot: Snapshot, obj: Object, name: str) -> bool:
    """Whether the node takes the pod, worked out pod by pod from the objects."""
    target = snapshot.nodes[snapshot.rows[name]]
    assert target is not None
    spec, labels = obj["spec"], target["metadata"]["labels"]
    here = [p.pod for p in snapshot.placements.values() if p.node == name and p.pod]
    placed = [(p.pod, snapshot.nodes[p.row]) for p in snapshot.placements.values() if p.pod]
    known = [(p, n["metadata"]["labels"]) for p, n in placed if n is not None]

    def cpu(p: Object) -> float:
        text = p["spec"]["containers"][0]["resources"]["requests"]["cpu"]
        return float(text[:-1]) / 1000 if text.endswith("m") else float(text)

    def ports(p: Object) -> set[int]:
        return {x["hostPort"] for x in p["spec"]["containers"][0].get("ports", ())}

    def rules(p: Object, kind: str) -> list[Object]:
        found: list[Object] = (
            p["spec"].get("affinity", {}).get(kind, {}).get("requiredDuringSchedulingIgnoredDuringExecution", [])
        )
        return found

    def selected(rule: Object, p: Object) -> bool:
        return bool(rule["labelSelector"]["matchLabels"]["app"] == p["metadata"]["labels"]["app"])

    def near(rule: Object, there: Object) -> bool:
        key = rule["topologyKey"]
        return key in labels and labels[key] == there.get(key)

    tainted = any(t["effect"] == "NoSchedule" for t in target["spec"]["taints"]) and not spec.get("tolerations")
    if tainted or sum(map(cpu, here)) + cpu(obj) > float(target["status"]["allocatable"]["cpu"]):
        return False
    if any(labels.get(k) != v for k, v in spec.get("nodeSelector", {}).items()) or any(
        ports(p) & ports(obj) for p in here
    ):
        return False
    if any(near(r, there) and selected(r, obj) for p, there in known for r in rules(p, "podAntiAffinity")):
        return False
    if any(near(r, there) and selected(r, p) for p, there in known for r in rules(obj, "podAntiAffinity")):
        return False
    for rule in rules(obj, "podAffinity"):
        anywhere = any(selected(rule, p) and rule["topologyKey"] in there for p, there in known)
        first = not anywhere and selected(rule, obj) and rule["topologyKey"] in labels
        if not first and not any(near(rule, there) and selected(rule, p) for p, there in known):
            return False
    for rule in spec.get("topologySpreadConstraints", ()):
        key = rule["topologyKey"]
        all_labels = [n["metadata"]["labels"] for n in snapshot.nodes if n is not None]
        counts = {value[key]: 0 for value in all_labels if key in value}
        for p, there in known:
            if key in there and selected(rule, p):
                counts[there[key]] += 1
        if key not in labels or counts[labels[key]] + selected(rule, obj) - min(counts.values()) > 1:
            return False
    return True


@settings(max_examples=300, deadline=None)
@given(st.lists(changes, max_size=20), pods())
def test_vectorised_filters_equal_a_naive_reference(history: list[tuple[str, Any]], obj: Object) -> None:
    snapshot = Snapshot()
    for change in history:
        apply(snapshot, change)
    obj["metadata"]["name"] = "new"
    cycle = Engine(snapshot, DEFAULT_PROFILE).cycle(parse(obj))
    vectorised = {snapshot.names[row] for row in cycle.feasible()}
    assert vectorised == {n for n, row in snapshot.rows.items() if snapshot.valid[row] and naive(snapshot, obj, n)}
