"""An API server that measures the pauses of its own event loop: ``python -m bench.probe FILE [API server's flags]``.

A timer fires every millisecond; how late it comes is a pause. On a machine that others load, too, a late timer may only
mean that the process had to wait for a core, so a pause counts as no longer than the CPU time that the thread has used
since the timer before. SIGUSR1 writes the longest pause since the last one, in milliseconds, to FILE.
"""

import asyncio
import signal
import sys
import time
from pathlib import Path

TICK = 0.001


class Probe:
    """Watches the running loop from ``start`` on."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._longest = 0.0

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGUSR1, self._write)
        self._arm()

    def _arm(self) -> None:
        self._due, self._used = time.monotonic() + TICK, time.thread_time()
        self._loop.call_later(TICK, self._fire)

    def _fire(self) -> None:
        pause = min(time.monotonic() - self._due, time.thread_time() - self._used)
        self._longest = max(self._longest, pause)
        self._arm()

    def _write(self) -> None:
        done = self._report.with_suffix(".new")
        done.write_text(f"{self._longest * 1000:.3f}")
        done.replace(self._report)
        self._longest = 0.0


def main() -> None:
    """The API server's own entry point, with a probe in its loop."""
    from master.apiserver import __main__ as program
    from master.apiserver.app import ApiServer

    probe, run = Probe(Path(sys.argv.pop(1))), ApiServer.run

    async def probed(self: ApiServer) -> None:
        probe.start()
        await run(self)

    ApiServer.run = probed  # type: ignore[method-assign]
    program.main()


if __name__ == "__main__":
    main()
