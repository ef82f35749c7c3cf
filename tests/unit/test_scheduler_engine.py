"""Decisions: which node a pod gets, or upstream's words for why it gets none."""

import copy
from collections import Counter
from typing import Any

import pytest

from master.scheduler.engine import Nomination
from master.scheduler.framework import Event
from master.scheduler.plugins.default_preemption import post_filter
from master.scheduler.profile import DEFAULT_PROFILE
from master.scheduler.requests import pod_requests
from master.scheduler.shape import ShapeCache
from master.scheduler.slim import slim_pod
from tests.scheduling import (
    cluster,
    key_and_shape,
    node,
    pod,
    put,
    required_affinity,
    required_anti_affinity,
    schedule,
    term,
)

Object = dict[str, Any]
ZONE = "topology.kubernetes.io/zone"


def test_the_emptiest_node_wins_and_each_pod_sees_those_before_it() -> None:
    engine = cluster(node("a"), node("b"), node("c"))
    assert sorted(schedule(engine, pod(f"p{n}", cpu="1", memory="1Gi")) for n in range(6)) == [
        "a",
        "a",
        "b",
        "b",
        "c",
        "c",
    ]


def test_the_message_counts_nodes_by_reason_in_upstreams_words_and_order() -> None:
    engine = cluster(
        node("a", cpu="1", example="1"),
        node("b", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]),
        node("c", unschedulable=True),
        node("d", pods="0", cpu="1"),
    )
    assert schedule(engine, pod("p", cpu="2")) == (
        "0/4 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint(s), "
        "1 node(s) were unschedulable, 2 Insufficient cpu."
    )


def test_no_nodes() -> None:
    assert schedule(cluster(), pod("p")) == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"nodeSelector": {"disk": "ssd"}}, "b"),
        ({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}]}}}}, "b"),
        ({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["8"]}]}]}}}}, "b"),
        ({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]}}}, "b"),
        ({"nodeSelector": {"disk": "tape"}},
         "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."),
        ({"tolerations": []}, "a"),
    ],
)  # fmt: skip
def test_node_affinity(spec: Object, expected: str) -> None:
    engine = cluster(node("a", labels={"cores": "8"}), node("b", labels={"disk": "ssd", "cores": "16"}))
    assert schedule(engine, pod("p", **spec)) == expected


def test_a_host_port_clashes_on_one_address_and_protocol() -> None:
    engine = cluster(node("a"))
    assert schedule(engine, pod("p1", host_port=80)) == "a"
    refusal = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    assert schedule(engine, pod("p2", host_port=80)) == refusal
    udp = pod("p3", host_port=80)
    udp["spec"]["containers"][0]["ports"][0]["protocol"] = "UDP"
    assert schedule(engine, udp) == "a"


def test_extended_resources_are_counted_exactly() -> None:
    engine = cluster(node("a", **{"example.com/gpu": "2"}), node("b"))
    assert [schedule(engine, pod(f"p{n}", **{"example.com/gpu": "1"})) for n in range(3)] == [
        "a",
        "a",
        "0/2 nodes are available: 2 Insufficient example.com/gpu.",
    ]


def test_requests_follow_init_containers_sidecars_and_overhead() -> None:
    obj = pod("p", cpu="100m")
    obj["spec"]["initContainers"] = [
        {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
        {"name": "init", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}},
    ]
    obj["spec"]["overhead"] = {"cpu": "10m"}
    assert pod_requests(obj)[0] == {"cpu": 1060, "memory": 1024**3}


def test_the_first_pod_of_a_group_with_affinity_to_itself_is_let_in_and_draws_the_rest() -> None:
    engine = cluster(node("a", labels={ZONE: "x"}), node("b", labels={ZONE: "y"}), node("c", labels={ZONE: "x"}))
    affinity = required_affinity(term(ZONE, app="web"))
    zone_of_first = schedule(engine, pod("p0", labels={"app": "web"}, affinity=affinity))
    assert zone_of_first == "a"
    rest = {schedule(engine, pod(f"p{n}", labels={"app": "web"}, affinity=affinity)) for n in range(1, 5)}
    assert rest == {"a", "c"}


def test_anti_affinity_holds_both_ways() -> None:
    engine = cluster(node("a"), node("b"))
    lonely = required_anti_affinity(term(app="web"))
    assert schedule(engine, pod("p0", affinity=lonely)) == "a"
    assert schedule(engine, pod("p1", labels={"app": "web"})) == "b"  # kept out of a by p0's rule
    refusal = schedule(engine, pod("p2", labels={"app": "web"}, affinity=lonely))
    assert refusal == (
        "0/2 nodes are available: 1 node(s) didn't match pod anti-affinity rules, "
        "1 node(s) didn't satisfy existing pods anti-affinity rules."
    )


def test_a_namespace_selector_follows_the_labels_of_namespaces() -> None:
    engine = cluster(node("a"), node("b"))
    engine.snapshot.set_namespace("other", {"team": "x"})
    put(engine, "a", pod("q", namespace="other", labels={"app": "web"}))
    rule = term(app="web") | {"namespaceSelector": {"matchLabels": {"team": "x"}}}
    assert schedule(engine, pod("p", affinity=required_affinity(rule))) == "a"
    engine.snapshot.set_namespace("other", {"team": "y"})
    assert "didn't match pod affinity rules" in schedule(engine, pod("p2", affinity=required_affinity(rule)))


def spread(topology_key: str, **more: Any) -> Object:
    constraint = {"topologyKey": topology_key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    return constraint | {"labelSelector": {"matchLabels": {"app": "web"}}} | more


def test_topology_spread_keeps_zones_even_and_needs_the_label() -> None:
    engine = cluster(node("a", labels={ZONE: "x"}), node("b", labels={ZONE: "y"}, cpu="1"), node("c"))
    web = {"labels": {"app": "web"}, "topologySpreadConstraints": [spread(ZONE)], "cpu": "900m"}
    assert [schedule(engine, pod(f"p{n}", **web)) for n in range(3)] == ["a", "b", "a"]
    assert schedule(engine, pod("p3", **web)) == (
        "0/3 nodes are available: 1 Insufficient cpu, "
        "1 node(s) didn't match pod topology spread constraints, "
        "1 node(s) didn't match pod topology spread constraints (missing required label)."
    )


def test_too_few_domains_count_as_an_empty_one() -> None:
    engine = cluster(node("a", labels={ZONE: "x"}))
    web = {"labels": {"app": "web"}, "topologySpreadConstraints": [spread(ZONE, minDomains=2)]}
    assert schedule(engine, pod("p0", **web)) == "a"
    assert "topology spread" in schedule(engine, pod("p1", **web))


def test_pods_of_a_service_are_spread_by_default() -> None:
    engine = cluster(node("a", cpu="64", memory="256Gi"), node("b"))
    engine.snapshot.peers.set_service("default", "web", {"app": "web"})
    placed = [schedule(engine, pod(f"p{n}", labels={"app": "web"}, cpu="100m")) for n in range(4)]
    assert sorted(placed) == ["a", "a", "b", "b"]


def test_a_busy_node_is_avoided() -> None:
    engine = cluster(node("a"), node("b"))
    engine.snapshot.set_load("a", 0.9)
    engine.snapshot.set_load("b", 0.1)
    assert schedule(engine, pod("p")) == "b"


@pytest.mark.parametrize("requests", [{}, {"cpu": "50m"}, {"cpu": "50m", "memory": "64Mi"}])
def test_a_burst_is_spread_evenly_whatever_stale_loads_say(requests: Object) -> None:
    engine = cluster(node("a"), node("b"), node("c"))
    for name, load in (("a", 0.95), ("b", 0.3), ("c", 0.25)):
        engine.snapshot.set_load(name, load)
    placed = [schedule(engine, pod(f"p{n}", **requests)) for n in range(15)]
    engine.snapshot.set_load("c", 1.0)
    placed += [schedule(engine, pod(f"p{n}", **requests)) for n in range(15, 30)]
    assert Counter(placed) == {"a": 10, "b": 10, "c": 10}


def test_a_missing_claim_is_named() -> None:
    engine = cluster(node("a"))
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    text = '0/1 nodes are available: persistentvolumeclaim "data" not found.'
    assert schedule(engine, pod("p", volumes=volumes)) == text


def test_preemption_takes_the_fewest_and_least_important_pods() -> None:
    engine = cluster(node("a"), node("b"))
    put(engine, "a", pod("a1", cpu="2", priority=5), pod("a2", cpu="2", priority=1))
    put(engine, "b", pod("b1", cpu="2", priority=5), pod("b2", cpu="2", priority=5))
    key, shape = key_and_shape(pod("p", cpu="2", priority=10))
    assert not engine.decide(key, shape).node
    rescue = post_filter(engine, key, shape)
    assert (rescue.node, rescue.victims) == ("a", (("default", "a2"),))
    assert len(engine.snapshot.placements) == 4


def test_preemption_spares_pods_of_a_budget_where_it_can() -> None:
    engine = cluster(node("a"), node("b"))
    put(engine, "a", pod("a1", cpu="4", priority=1, labels={"app": "db"}))
    put(engine, "b", pod("b1", cpu="4", priority=2))
    engine.snapshot.budgets["default", "db"] = {
        "spec": {"selector": {"matchLabels": {"app": "db"}}},
        "status": {"disruptionsAllowed": 0},
    }
    key, shape = key_and_shape(pod("p", cpu="2", priority=10))
    assert post_filter(engine, key, shape).node == "b"


def test_preemption_says_why_it_does_not_help() -> None:
    engine = cluster(node("a"), node("b", labels={"x": "y"}), node("c", labels={"x": "y"}, cpu="1"))
    put(engine, "b", pod("b1", cpu="4", priority=20))
    key, shape = key_and_shape(pod("p", cpu="2", priority=10, nodeSelector={"x": "y"}))
    engine.decide(key, shape)
    assert post_filter(engine, key, shape).message == (
        "preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, "
        "2 Preemption is not helpful for scheduling."
    )


def test_a_refusal_names_the_events_that_could_help() -> None:
    engine = cluster(node("a", cpu="1"))
    key, shape = key_and_shape(pod("p", cpu="2"))
    wakes = DEFAULT_PROFILE.wakes_of(engine.decide(key, shape).plugins)
    assert wakes == {Event.NODE_ADDED, Event.NODE_ALLOCATABLE, Event.POD_REMOVED}


def test_the_informers_keep_all_that_a_shape_is_made_of() -> None:
    obj = pod("p", cpu="1", host_port=80, labels={"a": "b"}, priority=3, nodeSelector={"x": "y"})
    obj["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "e", "emptyDir": {}}]
    obj["spec"]["containers"][0]["env"] = [{"name": "A", "value": "B"}]
    obj["status"] = {"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "2"}, "image": "app"}]}
    shapes = ShapeCache()
    assert shapes.of(slim_pod(copy.deepcopy(obj))) is shapes.of(obj)
    assert shapes.of(obj).requests == {"cpu": 2000}


def test_resource_claims_are_refused_by_name() -> None:
    found = schedule(cluster(node("a")), pod("p", resourceClaims=[{"name": "gpu"}]))
    assert found == "0/1 nodes are available: resource claims are not supported: gpu."


def test_a_place_that_is_being_cleared_is_taken_for_pods_that_are_not_more_important() -> None:
    engine = cluster(node("a"))
    key, shape = key_and_shape(pod("vip", cpu="3", priority=9))
    engine.nominations[key] = Nomination("a", shape)
    assert schedule(engine, pod("p", cpu="2")) == "0/1 nodes are available: 1 Insufficient cpu."
    assert schedule(engine, pod("q", cpu="1")) == "a"
    assert schedule(engine, pod("r", cpu="2", priority=10)) == "a"
    assert engine.decide(key, shape).message == "0/1 nodes are available: 1 Insufficient cpu."
    assert key not in engine.snapshot.placements
