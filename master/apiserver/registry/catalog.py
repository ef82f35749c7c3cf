"""Which kinds this server has, and their strategies: the built-in table plus what definitions add at run time."""

from collections.abc import Mapping

from apimachinery import scheme
from apimachinery.errors import NotFound
from apimachinery.scheme import Kind, Scheme

from ..storage.entry import FieldLabels
from ..storage.keys import bucket_of
from .strategy import Strategy


class Catalog:
    """``revision`` grows with every kind that comes or goes: discovery and OpenAPI are made anew then."""

    def __init__(self, strategies: Mapping[tuple[str, str], type[Strategy]], kinds: Scheme = scheme.BUILTIN) -> None:
        self.scheme = Scheme(kinds)
        self.revision = 1
        self._strategies: dict[tuple[str, str, str], Strategy] = {}
        self._by_bucket: dict[str, Strategy] = {}
        for kind in kinds:
            own = strategies.get((kind.api_version, kind.resource))
            self._install((own or strategies.get((kind.group, kind.resource), Strategy))(kind))

    def add(self, strategy: Strategy, *, listed: bool = True) -> None:
        """Serve a kind from now on, or serve it differently; one that is not ``listed``, to the server only."""
        kind = strategy.kind
        if listed:
            self.scheme.add(kind)
        self._strategies[kind.group, kind.version, kind.resource] = strategy
        self.revision += 1

    def remove(self, kind: Kind) -> None:
        self.scheme.remove(kind)
        self._strategies.pop((kind.group, kind.version, kind.resource), None)
        self.revision += 1

    def strategy(self, kind: Kind) -> Strategy:
        """Raises NotFound for a custom kind that is no longer served."""
        try:
            return self._strategies[kind.group, kind.version, kind.resource]
        except KeyError:
            raise NotFound("the server could not find the requested resource") from None

    def field_labels(self, bucket: str) -> FieldLabels:
        """What the watch cache must know of the objects of a bucket besides name and labels."""
        strategy = self._by_bucket.get(bucket)
        return strategy.field_labels if strategy else {}

    def _install(self, strategy: Strategy) -> None:
        kind = strategy.kind
        self._strategies[kind.group, kind.version, kind.resource] = strategy
        self._by_bucket.setdefault(bucket_of(kind), strategy)
