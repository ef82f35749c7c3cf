"""The scheduling queue: order, back-off, waking."""

from apimachinery.clock import ManualClock
from master.scheduler.framework import Event
from master.scheduler.queue import SchedulingQueue
from tests.scheduling import key_and_shape, pod

FREED = frozenset({Event.POD_REMOVED})


def add(queue: SchedulingQueue, name: str, **spec: object) -> None:
    key, shape = key_and_shape(pod(name, **spec))
    queue.add(key, name, shape)


def names(queue: SchedulingQueue, limit: int = 10) -> list[str]:
    return [p.key[1] for p in queue.pop(limit)]


def test_priority_first_then_age() -> None:
    clock = ManualClock()
    queue = SchedulingQueue(clock.monotonic)
    for name, priority in (("old", 0), ("new", 0), ("urgent", 9)):
        add(queue, name, priority=priority)
        clock.advance(1)
    assert names(queue) == ["urgent", "old", "new"]


def test_a_refused_pod_waits_for_its_event_and_its_back_off() -> None:
    clock = ManualClock()
    queue = SchedulingQueue(clock.monotonic)
    add(queue, "p")
    (taken,) = queue.pop(1)
    queue.refused(taken, frozenset({"NodeResourcesFit"}), FREED)
    assert queue.waiting_for(frozenset({Event.NODE_LABELS})) == []
    assert names(queue) == []
    queue.wake(queue.waiting_for(FREED))
    add(queue, "other")
    assert names(queue) == ["other"]  # p still backs off, and there is something else to do
    clock.advance(1)
    assert names(queue) == ["p"]


def test_an_idle_scheduler_takes_a_pod_that_backs_off_after_a_refusal_but_not_after_an_error() -> None:
    clock = ManualClock()
    queue = SchedulingQueue(clock.monotonic)
    add(queue, "p")
    (taken,) = queue.pop(1)
    queue.refused(taken, frozenset(), FREED)
    queue.wake([taken])
    (taken,) = queue.pop(1)
    queue.error(taken)
    assert names(queue) == []
    assert queue.seconds_to_next() == 2.0
    clock.advance(2)
    assert names(queue) == ["p"]


def test_the_back_off_doubles_to_ten_seconds() -> None:
    clock = ManualClock()
    queue = SchedulingQueue(clock.monotonic)
    add(queue, "p")
    waits = []
    for _ in range(6):
        (taken,) = queue.pop(1)
        queue.error(taken)
        waits.append(queue.seconds_to_next())
        clock.advance(waits[-1] or 0)
    assert waits == [1, 2, 4, 8, 10, 10]


def test_gated_pods_wait_for_their_gates() -> None:
    queue = SchedulingQueue(ManualClock().monotonic)
    add(queue, "p", schedulingGates=[{"name": "later"}])
    assert names(queue) == []
    assert [p.key[1] for p in queue.gated()] == ["p"]
    add(queue, "p")
    assert names(queue) == ["p"]


def test_five_minutes_are_an_event_too() -> None:
    clock = ManualClock()
    queue = SchedulingQueue(clock.monotonic)
    add(queue, "p")
    (taken,) = queue.pop(1)
    queue.refused(taken, frozenset(), frozenset())
    clock.advance(300)
    assert names(queue) == ["p"]


def test_a_pod_recreated_under_its_name_starts_afresh() -> None:
    queue = SchedulingQueue(ManualClock().monotonic)
    add(queue, "p")
    (taken,) = queue.pop(1)
    key, shape = key_and_shape(pod("p"))
    queue.add(key, "another uid", shape)
    queue.refused(taken, frozenset(), FREED)
    assert names(queue) == ["p"]
