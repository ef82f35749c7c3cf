"""Exponential back-off with jitter."""

import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Delays in seconds that grow by ``factor`` from ``initial`` up to ``maximum``.

    ``jitter`` adds up to that fraction of the delay, so that many clients do not come back in step.
    """

    initial: float = 0.1
    maximum: float = 10.0
    factor: float = 2.0
    jitter: float = 0.2
    failures: int = 0

    def next(self) -> float:
        """The delay before the next attempt; each call counts one more failure."""
        # The exponent is capped: 2.0 ** 1100 overflows long after the maximum is reached.
        delay = min(self.maximum, self.initial * self.factor ** min(self.failures, 60))
        self.failures += 1
        return delay * (1 + self.jitter * random.random())  # noqa: S311 - spreading load, not a secret

    def reset(self) -> None:
        """To be called after a success."""
        self.failures = 0
