"""sig-instrumentation: one store of events, two groups. Each test is named after upstream's."""

import pytest

from tests.control_plane import ApiServerProgram
from tests.e2e.conformance.api import STRATEGIC, Object, resource

TIME = "2017-09-19T13:49:16.000000Z"


def new_event(kind: str, name: str, label: str, namespace: str) -> Object:
    meta = {"name": name, "labels": {label: "true"}}
    if kind == "":
        about = {"involvedObject": {"namespace": namespace}, "message": f"This is {name}", "count": 1}
        return {"metadata": meta, "reason": "Test", "type": "Normal", **about}
    about = {"regarding": {"namespace": namespace}, "note": f"This is {name}", "action": "Do", "eventTime": TIME}
    controller = {"reportingController": "test-controller", "reportingInstance": "test-node"}
    return {"metadata": meta, "reason": "Test", "type": "Normal", **about, **controller}


@pytest.mark.parametrize("group", ["", "events.k8s.io"], ids=["core", "events.k8s.io"])
def test_should_ensure_that_an_event_can_be_fetched_patched_deleted_and_listed(
    plane: ApiServerProgram, space: str, group: str
) -> None:
    events, text = resource(plane, "events", group, space), "note" if group else "message"
    events.create(new_event(group, "event-test", "testevent-constant", space))
    everywhere = events.everywhere().listing(labelSelector="testevent-constant=true")["items"]
    assert ("event-test", space) in [(e["metadata"]["name"], e["metadata"]["namespace"]) for e in everywhere]
    before = events.get("event-test")
    events.patch("event-test", {text: "This is a test event - patched"}, STRATEGIC)
    after = events.get("event-test")
    assert after[text] == "This is a test event - patched"
    for event in (before, after):
        event["metadata"].pop("resourceVersion")
        event["metadata"].pop("managedFields", None)
    assert before | {text: after[text]} == after
    if group:
        assert resource(plane, "events", "", space).names(fieldSelector="source=test-controller") == ["event-test"]
        assert events.names(fieldSelector="reportingController=test-controller") == ["event-test"]
        after["series"] = {"count": 100, "lastObservedTime": TIME}
        updated = events.update(after)  # without a version: whatever is there
        assert (updated["series"], updated["eventTime"]) == (after["series"], TIME)
    events.delete("event-test")
    assert events.names() == []


@pytest.mark.parametrize("group", ["", "events.k8s.io"], ids=["core", "events.k8s.io"])
def test_should_delete_a_collection_of_events(plane: ApiServerProgram, space: str, group: str) -> None:
    events = resource(plane, "events", group, space)
    for number in range(3):
        events.create(new_event(group, f"test-event-{number}", "testevent-set", space))
    assert len(events.names(labelSelector="testevent-set=true")) == 3
    events.delete_collection(labelSelector="testevent-set=true")
    assert events.names(labelSelector="testevent-set=true") == []
