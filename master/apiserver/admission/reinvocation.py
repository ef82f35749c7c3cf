"""Who wants to see an object again that somebody else has changed since: the reinvocation policy ``IfNeeded``."""

from collections.abc import Hashable
from typing import Any

Object = dict[str, Any]


class Reinvocations:
    """Which of those that change objects want a second round: those of policy IfNeeded, called before somebody else
    changed it. ``output`` is the object as the first round left it."""

    def __init__(self) -> None:
        self.before: set[Hashable] = set()
        self.wanted: set[Hashable] = set()
        self.output: Object | None = None

    def all_of_before(self) -> None:
        self.wanted |= self.before
        self.before.clear()
