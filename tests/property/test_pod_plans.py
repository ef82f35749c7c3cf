"""Plans come to rest, whatever happens to a pod's containers, and never run a container twice at once."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from node.agent.pod_actions import Inputs, Plan, finished, plan
from node.agent.pod_state import ContainerView, PodRuntime, ProbeResults, SandboxView, State
from node.agent.restart_backoff import RestartBackoff

Object = dict[str, Any]
HEALTHY = ProbeResults()


class Model:
    """A runtime that does what plans say, with containers that end when the test says."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sandboxes: list[SandboxView] = []
        self.containers: list[ContainerView] = []
        self.backoff = RestartBackoff()

    @property
    def view(self) -> PodRuntime:
        return PodRuntime(tuple(reversed(self.sandboxes)), tuple(reversed(self.containers)))

    def carry_out(self, made: Plan) -> None:
        self.now += 0.001
        for index, c in enumerate(self.containers):
            if c.running and (made.kill_pod or c.id in {k.container.id for k in made.kills}):
                self.end(index, 137)
        if made.new_sandbox is not None:
            self.sandboxes.append(SandboxView(f"s{made.new_sandbox}", made.new_sandbox, True, ips=("10.0.0.1",)))
        for start in made.starts:
            name, box = start.spec["name"], self.sandboxes[-1].id
            assert not any(c.running and c.name == name for c in self.containers), "a container twice at once"
            if start.attempt:
                self.backoff.record(f"{name}/", start.ended, self.now)
            identity = f"{name}-{len(self.containers)}"
            self.containers.append(ContainerView(identity, name, box, start.attempt, State.RUNNING, self.now, self.now))

    def end(self, index: int, code: int) -> None:
        c = self.containers[index]
        if c.running:
            self.containers[index] = ContainerView(
                c.id, c.name, c.sandbox_id, c.attempt, State.EXITED, c.created_at, c.started_at, self.now, code
            )

    def lose_sandbox(self) -> None:
        if self.sandboxes:
            last = self.sandboxes[-1]
            self.sandboxes[-1] = SandboxView(last.id, last.attempt, False)
            for index in range(len(self.containers)):
                self.end(index, 137)


EVENTS = st.one_of(
    st.tuples(st.just("end"), st.integers(0, 20), st.sampled_from([0, 1])),
    st.tuples(st.just("lose"), st.just(0), st.just(0)),
    st.tuples(st.just("wait"), st.integers(1, 400), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(
    policy=st.sampled_from(["Always", "OnFailure", "Never"]),
    inits=st.lists(st.sampled_from(["init", "sidecar"]), max_size=3),
    regular=st.integers(1, 2),
    events=st.lists(EVENTS, max_size=12),
)
def test_plans_come_to_rest(policy: str, inits: list[str], regular: int, events: list[tuple[str, int, int]]) -> None:
    specs = [{"name": f"i{n}"} | ({"restartPolicy": "Always"} if k == "sidecar" else {}) for n, k in enumerate(inits)]
    spec = {"restartPolicy": policy, "initContainers": specs, "containers": [{"name": f"c{n}"} for n in range(regular)]}
    pod: Object = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec}
    model = Model()
    for kind, number, code in [("wait", 1, 0), *events]:
        if kind == "end" and model.containers:
            model.end(number % len(model.containers), code)
        elif kind == "lose":
            model.lose_sandbox()
        else:
            model.now += number
        settle(pod, model)


def settle(pod: Object, model: Model) -> None:
    """Plan and act until nothing is left to do; that must not take long."""
    failed_init = ""
    for _ in range(20):
        if finished(pod, model.view, failed_init):
            return
        made = plan(Inputs(pod, model.view, HEALTHY, model.backoff, {}, model.now))
        failed_init = made.failed_init
        if not made.acts:
            assert made.wake_at is None or made.wake_at > model.now
            return
        model.carry_out(made)
    raise AssertionError("the plans do not come to rest")
