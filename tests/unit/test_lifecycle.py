"""Tasks end their group; a process drains on SIGTERM and leaves what hangs behind."""

import asyncio
import signal
import subprocess
import sys
import textwrap

import pytest

from apimachinery.lifecycle import TaskEnded, Tasks


async def test_a_failed_task_fails_the_group_and_stops_the_others() -> None:
    stopped = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        async with Tasks() as tasks:
            tasks.start("forever", forever())
            tasks.start("fail", fail())
            await tasks.wait()
    assert stopped.is_set()


async def test_a_task_that_returns_counts_as_failed_unless_it_may() -> None:
    async def short() -> None:
        await asyncio.sleep(0)

    async with Tasks() as tasks:
        await tasks.start("fine", short(), may_end=True)
        tasks.start("not fine", short())
        with pytest.raises(TaskEnded, match="not fine"):
            await tasks.wait()


@pytest.mark.parametrize(
    ("body", "code"),
    [("await asyncio.Event().wait()", 0), ("[await hang() for _ in '12']", 1), ("raise ValueError('x')", 1)],
)
def test_a_process_ends_with_a_bound_and_a_code(body: str, code: int) -> None:
    program = f"""
        import asyncio, sys
        from apimachinery import lifecycle, logging
        async def hang():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass
        async def main():
            print("up", flush=True)
            {body}
        sys.exit(lifecycle.run(main, drain_seconds=0.2))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"up\n"
    if "raise" not in body:
        process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == code
    process.stdout.close()
