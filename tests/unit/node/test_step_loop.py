"""Interrupting a step, and what may not be interrupted."""

import asyncio

from node.agent.step_loop import StepLoop, finish_first


async def test_what_makes_something_is_finished_before_an_interrupted_step_ends() -> None:
    began, may_end, made = asyncio.Event(), asyncio.Event(), []

    async def make() -> None:
        began.set()
        await may_end.wait()
        made.append("sandbox")

    seen: list[list[str]] = []

    async def step() -> None:
        seen.append(list(made))
        if not made:
            await finish_first(make())

    loop = StepLoop("pod", step)
    loop.wake()
    await began.wait()
    for _ in range(2):  # an update after the deletion interrupts again
        loop.interrupt()
        loop.wake()
        await asyncio.sleep(0)
    may_end.set()
    async with asyncio.timeout(5):
        while len(seen) < 2:
            await asyncio.sleep(0)
    assert seen == [[], ["sandbox"]]
    await loop.close()
