"""What a pod needs next, decided from plain values."""

from dataclasses import replace
from typing import Any

from node.agent.pod_actions import Inputs, Plan, dead_to_remove, finished, plan, sandboxes_to_remove, stop_order
from node.agent.pod_state import ContainerView, PodRuntime, ProbeResults, SandboxView, State
from node.agent.restart_backoff import RestartBackoff

Object = dict[str, Any]
BOX = SandboxView("s0", 0, True, ips=("10.0.0.1",))
HEALTHY = ProbeResults()


def pod(*names: str, policy: str = "Always", inits: list[Object] | None = None) -> Object:
    spec: Object = {"containers": [{"name": n, "image": "i"} for n in names], "restartPolicy": policy}
    return {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec | {"initContainers": inits or []}}


def view(name: str, state: State = State.RUNNING, code: int = 0, attempt: int = 0, **more: Any) -> ContainerView:
    at = 100.0 + attempt
    made = ContainerView(f"{name}-{attempt}", name, "s0", attempt, state, at, at, at, code)
    return replace(made, **more)


def planned(
    wanted: Object,
    *containers: ContainerView,
    sandboxes: tuple[SandboxView, ...] = (BOX,),
    probes: ProbeResults = HEALTHY,
    backoff: RestartBackoff | None = None,
    hashes: dict[str, str] | None = None,
    now: float = 1000.0,
) -> Plan:
    newest_first = sorted(containers, key=lambda c: -c.attempt)
    runtime = PodRuntime(sandboxes, tuple(newest_first))
    return plan(Inputs(wanted, runtime, probes, backoff or RestartBackoff(), hashes or {}, now))


def starts(made: Plan) -> list[tuple[str, int]]:
    return [(s.spec["name"], s.attempt) for s in made.starts]


def test_new_pod_gets_a_sandbox_and_then_all_its_containers() -> None:
    assert planned(pod("a"), sandboxes=()).new_sandbox == 0
    assert starts(planned(pod("a", "b"))) == [("a", 0), ("b", 0)]


def test_nothing_to_do_when_all_runs() -> None:
    assert not planned(pod("a"), view("a")).acts


def test_lost_sandbox_is_replaced_after_what_ran_in_it_is_stopped() -> None:
    lost = replace(BOX, ready=False)
    made = planned(pod("a"), view("a"), sandboxes=(lost,))
    assert (made.kill_pod, made.new_sandbox) == (True, 1)
    made = planned(pod("a", policy="Never"), view("a", State.EXITED, 1), sandboxes=(lost,))
    assert made.new_sandbox is None


def test_restart_policy_decides_what_runs_again() -> None:
    dead = view("a", State.EXITED, 1)
    assert starts(planned(pod("a"), dead)) == [("a", 1)]
    assert starts(planned(pod("a", policy="OnFailure"), dead)) == [("a", 1)]
    assert not planned(pod("a", policy="Never"), dead).acts
    assert not planned(pod("a", policy="OnFailure"), view("a", State.EXITED, 0)).acts


def test_back_off_doubles_says_so_and_is_forgotten() -> None:
    backoff = RestartBackoff()
    backoff.record("a/", 100.0, 100.0)
    made = planned(pod("a"), view("a", State.EXITED, 1, finished_at=995.0), backoff=backoff, now=996.0)
    assert starts(made) == [("a", 1)], "forgotten after ten minutes"
    backoff.record("a/", 995.0, 996.0)
    backoff.record("a/", 997.0, 998.0)
    made = planned(pod("a"), view("a", State.EXITED, 1, finished_at=1000.0), backoff=backoff, now=1001.0)
    assert not made.acts
    assert made.waiting["a"].reason == "CrashLoopBackOff"
    assert made.waiting["a"].message == "back-off 20s restarting failed container=a pod=p_n(u)"
    assert made.wake_at == 1020.0


def test_init_containers_run_one_after_the_other() -> None:
    wanted = pod("a", inits=[{"name": "i1"}, {"name": "i2"}])
    assert starts(planned(wanted)) == [("i1", 0)]
    assert not planned(wanted, view("i1")).acts
    assert starts(planned(wanted, view("i1", State.EXITED))) == [("i2", 0)]
    assert starts(planned(wanted, view("i1", State.EXITED), view("i2", State.EXITED))) == [("a", 0)]


def test_failed_init_fails_a_pod_that_never_restarts_and_is_tried_again_otherwise() -> None:
    wanted = pod("a", inits=[{"name": "i1"}])
    assert starts(planned(wanted, view("i1", State.EXITED, 1))) == [("i1", 1)]
    wanted["spec"]["restartPolicy"] = "Never"
    assert planned(wanted, view("i1", State.EXITED, 1)).failed_init == "i1"


def test_sidecar_starts_first_gates_on_its_startup_probe_and_is_kept_running() -> None:
    wanted = pod("a", inits=[{"name": "side", "restartPolicy": "Always"}, {"name": "i"}])
    assert starts(planned(wanted)) == [("side", 0)]
    gated = ProbeResults(not_started=frozenset({"side-0"}))
    assert not planned(wanted, view("side"), probes=gated).acts
    assert starts(planned(wanted, view("side"))) == [("i", 0)]
    running = planned(wanted, view("side", State.EXITED, 1), view("i", State.EXITED), view("a"))
    assert starts(running) == [("side", 1)]


def test_initialized_pod_does_not_run_its_init_containers_again() -> None:
    wanted = pod("a", "b", inits=[{"name": "i"}])
    assert starts(planned(wanted, view("a"))) == [("b", 0)]


def test_failed_probe_and_changed_spec_end_a_container() -> None:
    failed = ProbeResults(failed={"a-0": "liveness"})
    (kill,) = planned(pod("a"), view("a"), probes=failed).kills
    assert kill.message == "Container a failed liveness probe, will be restarted"
    made = planned(pod("a"), view("a", hash="old"), hashes={"a": "new"})
    assert [k.container.name for k in made.kills] == ["a"]


def test_restart_count_goes_on_where_the_api_server_knew_it() -> None:
    wanted = pod("a")
    wanted["status"] = {"containerStatuses": [{"name": "a", "restartCount": 4, "containerID": "x://y"}]}
    assert starts(planned(wanted)) == [("a", 5)]


def test_ephemeral_container_is_started_once() -> None:
    wanted = pod("a")
    wanted["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "i"}]
    assert starts(planned(wanted, view("a"))) == [("debug", 0)]
    assert not planned(wanted, view("a"), view("debug", State.EXITED, 1)).acts


def test_finished_by_policy() -> None:
    ended = PodRuntime((BOX,), (view("a", State.EXITED, 1),))
    assert finished(pod("a", policy="Never"), ended)
    assert not finished(pod("a", policy="OnFailure"), ended)
    assert not finished(pod("a"), ended)
    assert finished(pod("a", policy="Never"), PodRuntime(), failed_init="i")


def test_sidecars_stop_last_in_reverse_order() -> None:
    inits = [{"name": n, "restartPolicy": "Always"} for n in ("s1", "s2")]
    waves = stop_order(pod("a", inits=inits), [view("s1"), view("a"), view("s2")])
    assert [[c.name for c in wave] for wave in waves] == [["a"], ["s2"], ["s1"]]


def test_only_the_newest_dead_container_of_a_name_is_kept() -> None:
    all_ = tuple(view("a", State.EXITED, 1, attempt=n) for n in (3, 2, 1, 0))
    assert [c.attempt for c in dead_to_remove(PodRuntime((BOX,), all_))] == [1, 0]


def test_a_container_that_was_never_started_goes_once_it_has_a_successor() -> None:
    stillborn = view("a", State.CREATED, attempt=3)
    assert dead_to_remove(PodRuntime((BOX,), (stillborn, view("a", State.EXITED, 3, 2)))) == []
    rest = (view("a", State.EXITED, 3, 2), view("a", State.EXITED, 3, 1))
    gone = dead_to_remove(PodRuntime((BOX,), (view("a", attempt=4), stillborn, *rest)))
    assert [c.attempt for c in gone] == [3, 1]


def test_a_sandbox_that_somebody_removed_is_replaced_after_its_containers_are_stopped() -> None:
    made = planned(pod("a"), view("a"), sandboxes=())
    assert (made.kill_pod, made.new_sandbox) == (True, 0)


def test_a_dead_sandbox_goes_with_its_last_container() -> None:
    old, older = replace(BOX, id="s1", ready=False), replace(BOX, id="s2", ready=False)
    dead = view("a", State.EXITED, 1, sandbox_id="s1")
    runtime = PodRuntime((BOX, old, older), (view("a", attempt=1), dead))
    assert sandboxes_to_remove(runtime, []) == [older]
    assert sandboxes_to_remove(runtime, [dead]) == [old, older]


def test_a_containers_own_rules_come_before_the_pods_policy() -> None:
    ruled = pod("a", policy="Never")
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    ruled["spec"]["containers"][0] |= {"restartPolicy": "Never", "restartPolicyRules": [rule]}
    for code, again in ((42, True), (1, False), (0, False)):
        dead = view("a", State.EXITED, code)
        assert bool(starts(planned(ruled, dead))) == again
        assert finished(ruled, PodRuntime((BOX,), (dead,))) != again
    rule["exitCodes"] = {"operator": "NotIn", "values": [0]}
    assert starts(planned(ruled, view("a", State.EXITED, 1)))
    once = pod("a", policy="Always")
    once["spec"]["containers"][0]["restartPolicy"] = "Never"
    assert finished(once, PodRuntime((BOX,), (view("a", State.EXITED, 1),)))
