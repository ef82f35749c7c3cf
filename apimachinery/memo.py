"""What is remembered of what clients choose, within bounds: of how many answers, and of how long a question.

A bound on the number alone is none: a thousand paths or names of a megabyte each are a gigabyte.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import lru_cache, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

K = TypeVar("K", bound="Iterable[str | tuple[str, ...]]")
V = TypeVar("V")
P = ParamSpec("P")

LONGEST = 1024
"""Characters of a question whose answer is kept."""


def memo(most: int) -> Callable[[Callable[Concatenate[Any, P], V]], Callable[Concatenate[Any, P], V]]:
    """``lru_cache`` for a function of a text (or a number); an answer about a long text is worked out each time."""

    def decorate(function: Callable[Concatenate[Any, P], V]) -> Callable[Concatenate[Any, P], V]:
        cached: Callable[..., V] = lru_cache(maxsize=most)(function)

        @wraps(function)
        def answer(text: Any, /, *arguments: P.args, **options: P.kwargs) -> V:
            known: Callable[..., V] = function if isinstance(text, str) and len(text) > LONGEST else cached
            return known(text, *arguments, **options)

        return answer

    return decorate


class Memo(OrderedDict[K, V]):
    """Answers by keys of texts; the oldest goes first."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def keep(self, key: K, value: V) -> V:
        """Remember ``value``, unless the key is long."""
        if sum(len(part) if isinstance(part, str) else sum(map(len, part)) for part in key) <= LONGEST:
            if len(self) >= self._most:
                self.popitem(last=False)
            self[key] = value
        return value
