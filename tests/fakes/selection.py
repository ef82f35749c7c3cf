"""Which objects a list or watch selects."""

from apimachinery.meta import Object
from apimachinery.selectors import parse_fields, parse_labels
from protos.kubeto.v1 import apiserver_pb2 as pb


class Selected:
    """A predicate over objects of the selection's kind. A field label is the dotted path of a field here."""

    def __init__(self, selection: pb.Selection) -> None:
        self._namespace = selection.namespace
        self._labels = parse_labels(selection.label_selector)
        self._fields = parse_fields(selection.field_selector)

    def __call__(self, obj: Object) -> bool:
        if self._namespace and obj["metadata"].get("namespace") != self._namespace:
            return False
        return self._labels.matches(obj["metadata"].get("labels")) and self._fields.matches(lambda p: _field(obj, p))


def _field(obj: Object, path: str) -> str:
    value: object = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
