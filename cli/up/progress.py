"""What a person sees while a cluster starts: one line a step, with its time, and nothing else."""

import contextlib
import sys
import time
from collections.abc import Iterator

from rich.console import Console


class Progress:
    """Prints each step when it is done; on a terminal also while it runs."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False)
        self._started = time.monotonic()

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator["Step"]:
        """A step of the work. An exception marks it as failed and goes on."""
        step, began = Step(), time.monotonic()
        status = self.console.status(f"{title} …") if self.console.is_terminal else contextlib.nullcontext()
        try:
            with status:
                yield step
        except BaseException:
            self.console.print(f" [red]✗[/] {title}")
            raise
        seconds = time.monotonic() - began
        detail = f" [dim]{step.detail}[/]" if step.detail else ""
        self.console.print(f" [green]✓[/] {title}{detail} [dim]({seconds:.1f} s)[/]")

    def say(self, text: str = "") -> None:
        self.console.print(text)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


class Step:
    """``detail`` is shown behind the step's title once it is done."""

    def __init__(self) -> None:
        self.detail = ""
