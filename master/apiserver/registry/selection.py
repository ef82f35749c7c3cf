"""What a list or watch asks for: a namespace, labels and fields, as one predicate over cache entries."""

from dataclasses import dataclass

from apimachinery.errors import BadRequest
from apimachinery.selectors import FieldSelector, LabelSelector, parse_fields, parse_labels

from ..storage.entry import Entry
from ..storage.watcher import Accept
from .strategy import Strategy

_GENERIC = ("metadata.name", "metadata.namespace")
_ALL_LABELS, _ALL_FIELDS = LabelSelector(), FieldSelector()


@dataclass(frozen=True, slots=True)
class Selection:
    """All namespaces when ``namespace`` is empty."""

    namespace: str = ""
    labels: LabelSelector = _ALL_LABELS
    fields: FieldSelector = _ALL_FIELDS

    @classmethod
    def parse(cls, strategy: Strategy, namespace: str, labels: str = "", fields: str = "") -> "Selection":
        """Raises BadRequest for broken selectors and for fields that the kind cannot be selected by."""
        by_field = parse_fields(fields) if fields else _ALL_FIELDS
        for term in by_field.terms:
            if term.field not in _GENERIC and term.field not in strategy.field_labels:
                raise BadRequest(f"field label not supported: {term.field}")
        return cls(namespace, parse_labels(labels) if labels else _ALL_LABELS, by_field)

    @property
    def name(self) -> str:
        """The only name that can match, or ""."""
        return self.fields.required("metadata.name") or ""

    @property
    def filtered(self) -> bool:
        """Whether anything but the namespace decides."""
        return bool(self.fields.terms) or not self.labels.everything

    @property
    def pin(self) -> tuple[str, str] | None:
        """A field and its only value, by which the cache finds this watch."""
        return next(((t.field, t.value) for t in self.fields.terms if t.equal and t.field != _GENERIC[1]), None)

    def accept(self) -> Accept | None:
        """The predicate, or None if everything is wanted. For lists, which take a namespace's entries only anyway,
        ``wanted`` is the same without the namespace."""
        wanted = self.wanted()
        if not self.namespace:
            return wanted
        prefix = f"{self.namespace}/"
        if wanted is None:
            return lambda entry: entry.key.startswith(prefix)
        return lambda entry: entry.key.startswith(prefix) and wanted(entry)

    def listed(self) -> Accept | None:
        """``wanted`` for one list of entries that are all held meanwhile: objects that share their labels, as the
        pods of a set do, are asked about once."""
        labels = self.labels
        if self.fields.terms or labels.everything:
            return self.wanted()
        known: dict[int, bool] = {}

        def accept(entry: Entry) -> bool:
            of = entry.labels
            found = known.get(id(of))
            if found is None:
                found = known[id(of)] = labels.matches(of)
            return found

        return accept

    def wanted(self) -> Accept | None:
        labels = None if self.labels.everything else self.labels
        terms = self.fields.terms
        if not terms:
            return None if labels is None else lambda entry: labels.matches(entry.labels)

        def accept(entry: Entry) -> bool:
            if labels is not None and not labels.matches(entry.labels):
                return False
            return all((_value(entry, t.field) == t.value) == t.equal for t in terms)

        return accept


def _value(entry: Entry, field: str) -> str:
    if field == "metadata.name":
        return entry.name
    if field == "metadata.namespace":
        return entry.namespace
    return entry.fields.get(field, "")
