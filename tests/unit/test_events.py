"""The event recorder: counts repeats, combines variations, limits floods, never raises."""

from apimachinery import errors
from apimachinery.client.events import EventRecorder
from apimachinery.clock import ManualClock
from apimachinery.meta import Object
from apimachinery.scheme import CORE_EVENTS, Kind
from tests import fakes

POD: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns", "uid": "u"}}


def recorder(cluster: fakes.FakeCluster) -> EventRecorder:
    return EventRecorder(fakes.client(cluster), "tester", "host", clock=cluster.clock)


async def test_repeats_are_counted_on_one_event() -> None:
    cluster = fakes.FakeCluster(ManualClock())
    events = recorder(cluster)
    for _ in range(3):
        events.event(POD, "Normal", "Started", "Started container")
        await events.close()
    (event,) = cluster.all(CORE_EVENTS, "ns")
    assert (event["count"], event["reason"], event["source"]) == (3, "Started", {"component": "tester", "host": "host"})
    assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Pod", "namespace": "ns", "name": "p", "uid": "u"}


async def test_variations_are_combined_and_floods_are_cut() -> None:
    cluster = fakes.FakeCluster(ManualClock())
    events = recorder(cluster)
    for number in range(40):
        events.event(POD, "Warning", "Failed", f"failure {number}")
    await events.close()
    found = cluster.all(CORE_EVENTS, "ns")
    assert len(found) == 11 and events.dropped == 15
    (combined,) = [e for e in found if e["message"].startswith("(combined from similar events): ")]
    assert combined["count"] == 15


async def test_an_event_that_ran_out_is_made_anew_and_failures_are_only_counted() -> None:
    cluster = fakes.FakeCluster(ManualClock())
    events = recorder(cluster)
    events.event(POD, "Normal", "A", "x")
    await events.close()
    (first,) = cluster.all(CORE_EVENTS)
    cluster.delete(CORE_EVENTS, "ns", first["metadata"]["name"])
    cluster.clock.advance(1)  # type: ignore[attr-defined]
    events.event(POD, "Normal", "A", "x")
    await events.close()
    assert len(cluster.all(CORE_EVENTS)) == 1

    def intercept(verb: str, kind: Kind, name: str, body: Object | None) -> None:
        raise errors.Forbidden("no")

    cluster.intercept = intercept
    events.event(POD, "Normal", "B", "x")
    await events.close()
    assert events.dropped == 1
