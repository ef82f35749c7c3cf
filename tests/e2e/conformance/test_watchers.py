"""sig-api-machinery, watches: upstream's tests that start no pod. Each is named after upstream's."""

import threading

from tests.control_plane import ApiServerProgram
from tests.e2e.conformance.api import MERGE, Object, resource


def config_map(name: str, label: str, **data: str) -> Object:
    return {"metadata": {"name": name, "labels": {"watch-this-configmap": label}}, "data": data}


def test_should_observe_add_update_and_delete_watch_notifications_on_configmaps(
    plane: ApiServerProgram, space: str
) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    watches = {
        selector: maps.watch(labelSelector=f"watch-this-configmap{selector}")
        for selector in (
            "=multiple-watchers-A",
            "=multiple-watchers-B",
            " in (multiple-watchers-A,multiple-watchers-B)",
        )
    }
    only_a, only_b, both = watches.values()
    for name, label, one in (("a", "multiple-watchers-A", only_a), ("b", "multiple-watchers-B", only_b)):
        maps.create(config_map(name, label))
        maps.patch(name, {"data": {"mutation": "1"}}, MERGE)
        maps.patch(name, {"data": {"mutation": "2"}}, MERGE)
        maps.delete(name)
        for watch in (one, both):
            seen = [watch.next() for _ in range(4)]
            assert [kind for kind, _ in seen] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
            assert [obj.get("data", {}).get("mutation") for _, obj in seen] == [None, "1", "2", "2"]
            versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in seen]
            assert versions == sorted(set(versions))


def test_should_be_able_to_start_watching_from_a_specific_resource_version(plane: ApiServerProgram, space: str) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    maps.create(config_map("c", "x"))
    first = maps.patch("c", {"data": {"mutation": "1"}}, MERGE)
    maps.patch("c", {"data": {"mutation": "2"}}, MERGE)
    maps.delete("c")
    watch = maps.watch(resourceVersion=first["metadata"]["resourceVersion"])
    assert [(k, o["data"]["mutation"]) for k, o in (watch.next(), watch.next())] == [
        ("MODIFIED", "2"),
        ("DELETED", "2"),
    ]


def test_should_observe_an_object_deletion_if_it_stops_meeting_the_requirements_of_the_selector(
    plane: ApiServerProgram, space: str
) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    watch = maps.watch(labelSelector="watch-this-configmap=label-changed-and-restored")
    maps.create(config_map("c", "label-changed-and-restored"))
    for label in ("wrong", "wrong", "label-changed-and-restored"):
        maps.patch("c", {"metadata": {"labels": {"watch-this-configmap": label}}, "data": {label: "x"}}, MERGE)
    maps.delete("c")
    assert [watch.next()[0] for _ in range(4)] == ["ADDED", "DELETED", "ADDED", "DELETED"]


def test_should_receive_events_on_concurrent_watches_in_same_order(plane: ApiServerProgram, space: str) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    version = maps.listing()["metadata"]["resourceVersion"]
    watches = [maps.watch(resourceVersion=version) for _ in range(8)]

    def produce() -> None:
        for number in range(10):
            maps.create({"metadata": {"name": f"m{number}"}})
            maps.patch(f"m{number}", {"data": {"a": "b"}}, MERGE)
            maps.delete(f"m{number}")

    producer = threading.Thread(target=produce)
    producer.start()
    seen = [[watch.next()[1]["metadata"]["resourceVersion"] for _ in range(30)] for watch in watches]
    producer.join()
    assert all(order == seen[0] for order in seen)


def test_should_be_requested_by_informers_when_watchlist_is_enabled(plane: ApiServerProgram, space: str) -> None:
    """A streaming list: what exists, then a bookmark that says so, then changes."""
    secrets = resource(plane, "secrets", namespace=space)
    for number in range(3):
        secrets.create({"metadata": {"name": f"s{number}"}})
    streaming = {"sendInitialEvents": True, "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": True}
    watch = secrets.watch(**streaming)
    assert [watch.next()[0] for _ in range(3)] == ["ADDED"] * 3
    kind, bookmark = watch.next()
    assert (kind, bookmark["metadata"]["annotations"]) == ("BOOKMARK", {"k8s.io/initial-events-end": "true"})
    secrets.delete("s1")
    assert watch.next()[0] == "DELETED"
