"""Jobs: counting once, indexes, limits, policies, suspension."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apimachinery.clock import ManualClock
from apimachinery.meta import Object, annotations_of, condition_is_true, get_condition
from apimachinery.scheme import CORE_EVENTS, JOBS, PODS
from master.controller_manager.job_indexes import parse, ranges
from master.controller_manager.job_policies import success_rule
from master.controller_manager.job_tally import FINALIZER
from tests import fakes
from tests.fakes.manager import running, settle
from tests.fakes.nodes import FakeNodes

MERGE = "application/merge-patch+json"


def job(**spec: Any) -> Object:
    labels = {"job-name": "j"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"}}
    body = {"parallelism": 1, "backoffLimit": 6, "selector": {"matchLabels": labels}, "template": template, **spec}
    return {"metadata": {"name": "j", "namespace": "ns"}, "spec": body}


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.cluster = fakes.FakeCluster(self.clock)
        self.nodes = FakeNodes(self.cluster, "a")

    async def create(self, **spec: Any) -> None:
        self.cluster.create(JOBS, job(**spec))
        await settle(self.cluster)

    def status(self) -> Object:
        found: Object = self.cluster.get(JOBS, "ns", "j")["status"]
        return found

    def running(self) -> list[Object]:
        return [p for p in self.cluster.all(PODS) if p["status"]["phase"] == "Running"]

    async def finish(self, exit_code: int = 0, *, count: int = 1, index: int | None = None) -> None:
        """End pods that run, of one index if given, and let what follows come to rest."""
        chosen = [p for p in self.running() if index is None or self.index(p) == index]
        for pod in chosen[:count]:
            self.nodes.finish("ns", pod["metadata"]["name"], exit_code=exit_code)
        await settle(self.cluster)

    def index(self, pod: Object) -> int:
        return int(annotations_of(pod)["batch.kubernetes.io/job-completion-index"])

    def ended(self, type_: str) -> Object:
        """The condition that ends the Job, when it is true and everything is accounted for."""
        current = self.cluster.get(JOBS, "ns", "j")
        assert condition_is_true(current, type_), current["status"]
        assert (self.status()["active"], self.status()["ready"], self.status()["terminating"]) == (0, 0, 0)
        assert not self.status().get("uncountedTerminatedPods")
        assert not any(FINALIZER in (p["metadata"].get("finalizers") or ()) for p in self.cluster.all(PODS))
        return get_condition(current, type_) or {}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    async with running(world.cluster, "job", "ttl-after-finished"):
        yield world


async def test_it_runs_to_completion_and_counts_each_pod_once(world: World) -> None:
    await world.create(parallelism=2, completions=5)
    for number in range(5):
        assert len(world.running()) == min(2, 5 - number)
        await world.finish()
    assert world.ended("Complete")["reason"] == "CompletionsReached"
    assert (world.status()["succeeded"], len(world.cluster.all(PODS))) == (5, 5)
    assert world.status()["startTime"] and world.status()["completionTime"]
    assert any(e["reason"] == "Completed" for e in world.cluster.all(CORE_EVENTS))


async def test_a_deleted_pod_is_counted_before_it_goes(world: World) -> None:
    await world.create(completions=2, parallelism=1)
    pod = world.running()[0]
    world.nodes.finish("ns", pod["metadata"]["name"])
    world.cluster.delete(PODS, "ns", pod["metadata"]["name"])
    await settle(world.cluster)
    assert world.status()["succeeded"] == 1 and len(world.cluster.all(PODS)) == 1


async def test_failures_are_retried_with_back_off_up_to_the_limit(world: World) -> None:
    await world.create(backoffLimit=1)
    await world.finish(1)
    assert world.running() == []
    world.clock.advance(10)
    await settle(world.cluster)
    await world.finish(1)
    condition = world.ended("Failed")
    assert (condition["reason"], world.status()["failed"]) == ("BackoffLimitExceeded", 2)
    assert condition["message"] == "Job has reached the specified backoff limit"


async def test_the_deadline_ends_it(world: World) -> None:
    await world.create(activeDeadlineSeconds=60, parallelism=3, completions=3)
    world.clock.advance(61)
    await settle(world.cluster)
    assert world.ended("Failed")["reason"] == "DeadlineExceeded"
    assert world.running() == []


async def test_a_deadline_that_has_passed_waits_for_the_pods_to_end(world: World) -> None:
    world.nodes.holds = lambda pod: bool(pod["metadata"].get("deletionTimestamp"))
    await world.create(activeDeadlineSeconds=60, parallelism=3, completions=3)
    world.clock.advance(61)
    await settle(world.cluster)
    current = world.cluster.get(JOBS, "ns", "j")
    assert condition_is_true(current, "FailureTarget") and not condition_is_true(current, "Failed")
    world.nodes.holds = lambda pod: False
    world.nodes.retry()
    await settle(world.cluster)
    assert world.ended("Failed")["reason"] == "DeadlineExceeded"


async def test_each_index_runs_once_and_only_its_failure_is_repeated(world: World) -> None:
    await world.create(completionMode="Indexed", completions=4, parallelism=4)
    assert sorted(world.index(p) for p in world.running()) == [0, 1, 2, 3]
    pod = world.running()[0]
    assert pod["spec"]["hostname"] == f"j-{world.index(pod)}"
    assert pod["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
    for index in (0, 1, 3):
        await world.finish(index=index)
    assert world.status()["completedIndexes"] == "0,1,3"
    await world.finish(1, index=2)
    world.clock.advance(10)
    await settle(world.cluster)
    await world.finish(index=2)
    world.ended("Complete")
    assert (world.status()["completedIndexes"], world.status()["succeeded"], world.status()["failed"]) == ("0-3", 4, 1)


async def test_limits_per_index(world: World) -> None:
    await world.create(
        completionMode="Indexed", completions=2, parallelism=2, backoffLimit=2**31 - 1, backoffLimitPerIndex=1
    )
    await world.finish(index=0)
    await world.finish(1, index=1)
    world.clock.advance(10)
    await settle(world.cluster)
    await world.finish(1, index=1)
    assert world.ended("Failed")["reason"] == "FailedIndexes"
    assert (world.status()["completedIndexes"], world.status()["failedIndexes"]) == ("0", "1")


async def test_pod_failure_policy(world: World) -> None:
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]
    await world.create(backoffLimit=0, podFailurePolicy={"rules": rules}, podReplacementPolicy="Failed")
    pod = world.running()[0]
    condition = {"type": "DisruptionTarget", "status": "True"}
    world.nodes.set_status(pod, {"phase": "Failed", "conditions": [condition]})
    await settle(world.cluster)
    world.clock.advance(10)
    await settle(world.cluster)
    assert world.status()["failed"] == 0 and len(world.running()) == 1
    name = world.running()[0]["metadata"]["name"]
    await world.finish(42)
    ended = world.ended("Failed")
    assert ended["reason"] == "PodFailurePolicy"
    assert (
        ended["message"] == f"Container c for pod ns/{name} failed with exit code 42 matching FailJob rule at index 1"
    )


async def test_success_policy_ends_the_rest(world: World) -> None:
    policy = {"rules": [{"succeededIndexes": "0"}]}
    await world.create(completionMode="Indexed", completions=3, parallelism=3, successPolicy=policy)
    await world.finish(index=0)
    assert world.ended("Complete")["reason"] == "SuccessPolicy"
    assert world.running() == []


async def test_suspending_stops_and_resuming_starts_again(world: World) -> None:
    await world.create(parallelism=2, completions=2, suspend=True)
    assert world.cluster.all(PODS) == [] and "startTime" not in world.status()
    world.cluster.patch(JOBS, "ns", "j", {"spec": {"suspend": False}}, MERGE)
    await settle(world.cluster)
    assert len(world.running()) == 2 and world.status()["startTime"]
    world.cluster.patch(JOBS, "ns", "j", {"spec": {"suspend": True}}, MERGE)
    await settle(world.cluster)
    assert world.running() == [] and condition_is_true(world.cluster.get(JOBS, "ns", "j"), "Suspended")


async def test_a_finished_job_goes_after_its_ttl(world: World) -> None:
    await world.create(ttlSecondsAfterFinished=100)
    await world.finish()
    world.clock.advance(50)
    await settle(world.cluster)
    world.ended("Complete")
    world.clock.advance(60)
    await settle(world.cluster)
    assert world.cluster.get(JOBS, "ns", "j")["metadata"]["finalizers"] == ["foregroundDeletion"]


@given(st.sets(st.integers(0, 60)))
def test_ranges_are_read_back(indexes: set[int]) -> None:
    assert parse(ranges(indexes)) == indexes


def test_success_rules() -> None:
    owner = job(successPolicy={"rules": [{"succeededIndexes": "0-2", "succeededCount": 2}, {"succeededCount": 4}]})
    assert success_rule(owner, {0}) is None
    assert success_rule(owner, {0, 2}) == 0
    assert success_rule(owner, {0, 5, 6, 7}) == 1
