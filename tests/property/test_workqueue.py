"""The work queue against a model, in any order of calls."""

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from apimachinery.client.workqueue import WorkQueue
from apimachinery.clock import ManualClock

KEYS = st.sampled_from("abcd")


class QueueMachine(RuleBasedStateMachine):
    """``due`` is the model of waiting keys, ``ready`` of keys to hand out, ``taken`` of keys with a worker."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.queue: WorkQueue[str] = WorkQueue(clock=self.clock, base_delay=1, max_delay=8)
        self.ready: list[str] = []
        self.taken: set[str] = set()
        self.again: set[str] = set()
        self.due: dict[str, float] = {}
        self.failures: dict[str, int] = {}

    def teardown(self) -> None:
        self.loop.close()

    def model_add(self, key: str) -> None:
        if key in self.taken:
            self.again.add(key)
        elif key not in self.ready:
            self.ready.append(key)

    def model_after(self, key: str, seconds: float) -> None:
        when = self.clock.monotonic() + seconds
        self.due[key] = min(when, self.due.get(key, when))

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.model_add(key)

    @rule(key=KEYS, seconds=st.integers(1, 10))
    def add_after(self, key: str, seconds: int) -> None:
        self.queue.add_after(key, seconds)
        self.model_after(key, seconds)

    @rule(key=KEYS)
    def add_rate_limited(self, key: str) -> None:
        self.queue.add_rate_limited(key)
        self.model_after(key, min(8, 2 ** self.failures.get(key, 0)))
        self.failures[key] = self.failures.get(key, 0) + 1

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        self.failures.pop(key, None)

    @rule(seconds=st.integers(1, 10))
    def advance(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            now = self.clock.monotonic()
            for key in [k for k, when in self.due.items() if when <= now]:
                del self.due[key]
                self.model_add(key)

    @precondition(lambda self: self.ready)
    @rule()
    def get(self) -> None:
        key = self.loop.run_until_complete(self.queue.get())
        assert key in self.ready and key not in self.taken
        self.ready.remove(key)
        self.taken.add(key)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.taken)))
        self.queue.done(key)
        self.taken.remove(key)
        if key in self.again:
            self.again.remove(key)
            self.ready.append(key)

    @invariant()
    def lengths_agree(self) -> None:
        assert len(self.queue) == len(self.ready)


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWorkQueue = QueueMachine.TestCase


async def test_a_cancelled_getter_loses_no_key() -> None:
    queue: WorkQueue[str] = WorkQueue(clock=ManualClock())
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"
