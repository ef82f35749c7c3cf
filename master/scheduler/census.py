"""How many pods of which kind are on each node, kept up to date pod by pod.

Pods are grouped by (namespace, labels): a *population*. A ``Counter`` holds, for one selector, the number of
matching pods on every node, as an array; it is filled from the populations when first asked for and then
follows each pod placed or removed, at a cost of the counters that match this pod's population. Affinity and
spread plugins therefore never walk over pods.

``Carrier`` is the mirror image: for one affinity term, the number of pods on every node that *have* the term.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from master.scheduler.shape import PodShape, Term

Counts = NDArray[np.int64]
Matcher = Callable[[str, Mapping[str, str]], bool]


@dataclass(slots=True, eq=False)
class Counter:
    """``counts[row]`` = pods of populations that ``matches``, terminating ones only if ``with_leaving``."""

    matches: Matcher
    with_leaving: bool
    counts: Counts


@dataclass(slots=True, eq=False)
class Population:
    """``staying``/``leaving`` = row -> pods there, never zero; ``counters`` = exactly those that match."""

    namespace: str
    labels: Mapping[str, str]
    staying: dict[int, int] = field(default_factory=dict)
    leaving: dict[int, int] = field(default_factory=dict)
    counters: list[Counter] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Carrier:
    """``counts[row]`` = pods there that carry ``term`` with ``weight``; ``total`` is their sum."""

    weight: int
    term: Term
    counts: Counts
    total: int = 0


class Census:
    """Counts by selector and by carried term. Rows are those of the snapshot that owns the census."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.populations: dict[tuple[str, bytes], Population] = {}
        self.carriers: dict[tuple[int, bytes], Carrier] = {}
        self._counters: dict[object, Counter] = {}
        self._weighing: dict[tuple[str, bytes], tuple[Carrier, ...]] = {}

    def grow(self, capacity: int) -> None:
        extra = capacity - self.capacity
        self.capacity = capacity
        holders: list[Counter | Carrier] = [*self._counters.values(), *self.carriers.values()]
        for holder in holders:
            holder.counts = np.concatenate([holder.counts, np.zeros(extra, np.int64)])

    def add(self, shape: PodShape, row: int, leaving: bool) -> None:
        self._shift(shape, row, leaving, 1)

    def remove(self, shape: PodShape, row: int, leaving: bool) -> None:
        self._shift(shape, row, leaving, -1)

    def counts(self, key: object, matches: Matcher, *, with_leaving: bool) -> Counts:
        """Matching pods by row. ``key`` stands for ``matches``: equal keys must mean equal matchers."""
        full_key = (key, with_leaving)
        counter = self._counters.get(full_key)
        if counter is None:
            counter = self._counters[full_key] = Counter(matches, with_leaving, np.zeros(self.capacity, np.int64))
            for population in self.populations.values():
                self._enlist(population, counter)
        return counter.counts

    def forget_counters(self) -> None:
        """Drop all counters: what they match may have changed, or too many are unused. They refill when asked."""
        self._counters.clear()
        self._weighing.clear()
        for population in self.populations.values():
            population.counters.clear()

    def weighing_on(self, shape: PodShape, namespace_labels: Mapping[str, str]) -> tuple[Carrier, ...]:
        """The carried terms that match pods of ``shape``."""
        found = self._weighing.get(shape.population)
        if found is None:
            found = self._weighing[shape.population] = tuple(
                c for c in self.carriers.values() if c.term.matches(shape.namespace, shape.labels, namespace_labels)
            )
        return found

    @property
    def counter_count(self) -> int:
        return len(self._counters)

    def _shift(self, shape: PodShape, row: int, leaving: bool, delta: int) -> None:
        population = self.populations.get(shape.population) or self._populate(shape)
        where = population.leaving if leaving else population.staying
        where[row] = where.get(row, 0) + delta
        if not where[row]:
            del where[row]
        for counter in population.counters:
            if counter.with_leaving or not leaving:
                counter.counts[row] += delta
        for weight, term in shape.carried:
            self._shift_carrier(weight, term, row, delta)
        if not population.staying and not population.leaving:
            del self.populations[shape.population]

    def _populate(self, shape: PodShape) -> Population:
        population = self.populations[shape.population] = Population(shape.namespace, shape.labels)
        for counter in self._counters.values():
            self._enlist(population, counter)
        return population

    def _enlist(self, population: Population, counter: Counter) -> None:
        if not counter.matches(population.namespace, population.labels):
            return
        population.counters.append(counter)
        for where in (population.staying, population.leaving) if counter.with_leaving else (population.staying,):
            for row, number in where.items():
                counter.counts[row] += number

    def _shift_carrier(self, weight: int, term: Term, row: int, delta: int) -> None:
        key = (weight, term.key)
        carrier = self.carriers.get(key)
        if carrier is None:
            carrier = self.carriers[key] = Carrier(weight, term, np.zeros(self.capacity, np.int64))
            self._weighing.clear()
        carrier.counts[row] += delta
        carrier.total += delta
        if not carrier.total:
            del self.carriers[key]
            self._weighing.clear()
