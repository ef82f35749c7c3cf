"""The shared loop: success forgets, a result waits, an error backs off, one key's fault is its own."""

import asyncio

from apimachinery.client.controller import Controller
from apimachinery.client.workqueue import WorkQueue
from apimachinery.clock import ManualClock
from tests.waiting import until


class Recording(Controller[str]):
    name = "recording"

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(queue=WorkQueue(clock=clock))
        self.calls: list[str] = []
        self.answers: dict[str, list[float | Exception | None]] = {}

    async def reconcile(self, key: str) -> float | None:
        self.calls.append(key)
        answer = (self.answers.get(key) or [None]).pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_results_and_errors_decide_when_a_key_comes_back() -> None:
    clock = ManualClock()
    controller = Recording(clock)
    controller.answers = {"waits": [30.0], "fails": [ValueError("x"), ValueError("x")]}
    task = asyncio.create_task(controller.run())
    for key in ("waits", "fails", "fine"):
        controller.queue.add(key)
    await until(lambda: len(controller.calls) == 3)
    assert controller.queue.failures("fails") == 1
    clock.advance(0.005)
    await until(lambda: controller.calls.count("fails") == 2)
    clock.advance(0.005)  # the second delay is twice as long
    await asyncio.sleep(0)
    assert controller.calls.count("fails") == 2
    clock.advance(0.005)
    await until(lambda: controller.calls.count("fails") == 3 and not controller.queue.failures("fails"))
    clock.advance(30)
    await until(lambda: controller.calls.count("waits") == 2)
    controller.queue.shut_down()
    await task


async def test_a_key_that_is_due_again_at_once_leaves_the_loop_to_others() -> None:
    controller = Recording(ManualClock())
    controller.answers = {"again": [0.0] * 1000}
    controller.queue.add("again")
    task = asyncio.create_task(controller.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert 0 < len(controller.calls) < 100
    controller.queue.shut_down()
    await task
