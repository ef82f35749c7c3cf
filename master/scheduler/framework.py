"""The plugin points, named as the upstream framework names them, over all nodes at once.

A plugin looks at a pod's shape and the snapshot and answers for many rows in one vector operation. It is pure: it
keeps nothing between calls. A filter answers a *code* for each row, 0 for "the node is fine"; what a code means is
asked of the plugin afterwards (``reasons``, ``resolvable``, ``explain``), and only for nodes that somebody asks about,
so explanations are exact and cost nothing until they are wanted.

Source: k8s.io/kube-scheduler/framework, KEP-624.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from apimachinery.meta import Object
from apimachinery.scheme import Kind
from master.scheduler.shape import Key, PodShape
from master.scheduler.snapshot import Snapshot

Codes = NDArray[np.int64]
Scores = NDArray[np.int64]
Rows = NDArray[np.int64] | slice
MAX_SCORE = 100


class Scope(Enum):
    """What can change a plugin's answer for a node."""

    NODE = auto()  # that Node object
    USE = auto()  # that Node object, or the pods on it
    CLUSTER = auto()  # any node or pod


class Event(Enum):
    """A change that can let a waiting pod in (upstream's ClusterEvent)."""

    NODE_ADDED = auto()
    NODE_ALLOCATABLE = auto()
    NODE_LABELS = auto()
    NODE_TAINTS = auto()
    NODE_REMOVED = auto()
    POD_PLACED = auto()
    POD_LABELS = auto()
    POD_REMOVED = auto()
    CLAIM_CHANGED = auto()
    NAMESPACE_LABELS = auto()


NODE_EVENTS = frozenset({Event.NODE_ADDED, Event.NODE_ALLOCATABLE, Event.NODE_LABELS, Event.NODE_TAINTS})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one node refuses a pod: upstream's words, by how much, and the smallest change that lets the pod in."""

    reasons: tuple[str, ...]
    detail: str
    remedy: str


class Plugin:
    """``wakes``: the events after which a pod that this plugin refused may fit."""

    name: ClassVar[str]
    scope: ClassVar[Scope] = Scope.NODE
    wakes: ClassVar[frozenset[Event]] = frozenset()


class FilterPlugin(Plugin):
    """PreFilter and Filter."""

    def relevant(self, shape: PodShape, snapshot: Snapshot) -> bool:
        """False if no node is refused for this shape as things are (upstream's Skip)."""
        return True

    def pre_filter(self, shape: PodShape, snapshot: Snapshot) -> str:
        """Why no node at all will do, or "" to go on."""
        return ""

    def filter(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Codes:
        """A code for each of ``rows``; 0 = fine."""
        raise NotImplementedError

    def reasons(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> tuple[str, ...]:
        """Upstream's words for ``code``."""
        raise NotImplementedError

    def resolvable(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> bool:
        """Whether removing pods from the node could help (Unschedulable, not UnschedulableAndUnresolvable)."""
        return False

    def explain(self, shape: PodShape, snapshot: Snapshot, row: int, code: int) -> Refusal:
        return Refusal(self.reasons(shape, snapshot, row, code), "", "")


class ScorePlugin(Plugin):
    """PreScore, Score and NormalizeScore. Scores are integers 0..100 after ``normalize``; ``weight`` is upstream's."""

    weight: ClassVar[int] = 1

    def scores(self, shape: PodShape, snapshot: Snapshot) -> bool:
        """False if every node would get the same score."""
        return True

    def score(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Scores:
        """The raw score of each of ``rows``."""
        raise NotImplementedError

    normalized: ClassVar[bool] = False

    def normalize(self, shape: PodShape, snapshot: Snapshot, rows: Rows, raw: Scores) -> Scores:
        """Raw scores of all feasible rows to 0..100; only called if ``normalized``."""
        return raw


def normalize_by_max(raw: Scores, *, reverse: bool = False) -> Scores:
    """Scale so that the largest becomes 100; ``reverse`` makes it 0 (upstream's DefaultNormalizeScore)."""
    highest = int(raw.max(initial=0))
    if highest == 0:
        return np.full_like(raw, MAX_SCORE if reverse else 0)
    scaled = raw * MAX_SCORE // highest
    return MAX_SCORE - scaled if reverse else scaled


@dataclass(frozen=True, slots=True)
class Rescue:
    """What PostFilter found: delete ``victims`` and wait for ``node``; or "" and the words for why nothing helps.

    ``keep``: an earlier nomination of the pod stands.
    """

    node: str = ""
    victims: tuple[Key, ...] = ()
    message: str = ""
    keep: bool = False


class ReservePlugin(Plugin):
    """Keeps something for a pod between the decision and its binding."""

    def reserve(self, key: Key, shape: PodShape, node: str) -> str:
        """Why the reservation fails, or ""."""
        return ""

    def unreserve(self, key: Key, shape: PodShape, node: str) -> None:
        """Undo ``reserve``; must be safe to repeat."""


class PreBindPlugin(Plugin):
    """What must be true of other objects before a pod is bound."""

    def prepare(self, shape: PodShape, snapshot: Snapshot, node: str) -> list[tuple[Kind, Object]] | None:
        """The objects to update, so that the pod can be bound once an event in ``wakes`` tells that it may; an empty
        list: nothing more to write, only to wait. None: bind now."""
        return None


class PermitPlugin(Plugin):
    """The last word before binding. Holding a pod back (upstream's Wait) is not offered."""

    def permit(self, key: Key, shape: PodShape, node: str) -> str:
        """Why the pod may not be bound, or ""."""
        return ""


@dataclass(frozen=True, slots=True)
class Profile:
    """The plugins of a scheduler, filters in the order in which upstream runs them."""

    filters: tuple[FilterPlugin, ...]
    scores: tuple[ScorePlugin, ...]
    reserves: tuple[ReservePlugin, ...] = ()
    permits: tuple[PermitPlugin, ...] = ()
    pre_binds: tuple[PreBindPlugin, ...] = ()

    def wakes_of(self, names: Iterable[str]) -> frozenset[Event]:
        """The events after which a pod that the named plugins refused may fit; any, if none is named."""
        wanted = set(names)
        if not wanted:
            return frozenset(Event)
        return frozenset[Event]().union(*(p.wakes for p in self.filters if p.name in wanted))


def unavailable(nodes: int, reasons: Mapping[str, int]) -> str:
    """``0/3 nodes are available: 1 Insufficient cpu, ...`` as upstream's FitError writes it."""
    parts = sorted(f"{count} {reason}" for reason, count in reasons.items())
    return f"0/{nodes} nodes are available:" + (f" {', '.join(parts)}." if parts else "")
