"""Columns and cells that many kinds share. The cells are upstream's, to the letter.

Source: ``k8s.io/kubernetes/pkg/printers/internalversion/printers.go``.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from apimachinery.duration import since

from ..strategy import Column

Object = dict[str, Any]
NONE = "<none>"


def at(obj: Any, path: str, default: Any = None) -> Any:
    """The value at a dotted path, or ``default`` where something on the way is missing or null."""
    for part in path.split("."):
        if not isinstance(obj, dict):
            return default
        obj = obj.get(part)
    return default if obj is None else obj


def field(path: str, default: Any = "") -> Callable[[Object], object]:
    """A cell that shows the value at a path."""
    return lambda obj: at(obj, path, default)


def age(path: str) -> Callable[[Object], object]:
    return lambda obj: since(at(obj, path))


def text(name: str, value: Callable[[Object], object] | str, description: str = "", *, wide: bool = False) -> Column:
    cell = field(value) if isinstance(value, str) else value
    return Column(name, "string", cell, priority=1 if wide else 0, description=description)


def number(name: str, value: Callable[[Object], object] | str, description: str = "") -> Column:
    cell = field(value, 0) if isinstance(value, str) else value
    return Column(name, "integer", cell, description=description)


NAME = Column(
    "Name",
    "string",
    field("metadata.name"),
    format="name",
    description="Name must be unique within a namespace. Is required when creating resources.",
)
AGE = Column(
    "Age",
    "string",
    age("metadata.creationTimestamp"),
    description="CreationTimestamp is a timestamp representing the server time when this object was created.",
)


def containers(path: str = "spec.template.spec") -> tuple[Column, Column]:
    """The wide columns of what has a pod template."""

    def cell(key: str) -> Callable[[Object], object]:
        return lambda obj: ",".join(c.get(key, "") for c in at(obj, f"{path}.containers", ()))

    return (
        text("Containers", cell("name"), "Names of each container in the template.", wide=True),
        text("Images", cell("image"), "Images referenced by each container in the template.", wide=True),
    )


def labels(pairs: Mapping[str, str] | None) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted((pairs or {}).items())) or NONE


def label_selector(selector: Mapping[str, Any] | None) -> str:
    """As upstream's FormatLabelSelector: every requirement in its short form."""
    if selector is None:
        return NONE
    parts = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    parts += [_expression(e) for e in selector.get("matchExpressions") or ()]
    return ",".join(parts) or NONE


def _expression(expression: Mapping[str, Any]) -> str:
    key, operator = expression.get("key", ""), expression.get("operator", "")
    if operator in ("Exists", "DoesNotExist"):
        return key if operator == "Exists" else f"!{key}"
    values = ",".join(sorted(expression.get("values") or ()))
    return f"{key} {operator.lower()} ({values})"


SELECTOR = text("Selector", lambda obj: label_selector(at(obj, "spec.selector")), wide=True)

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def access_modes(modes: Iterable[str] | None) -> str:
    return ",".join(_MODES[m] for m in _MODES if m in set(modes or ()))


def or_none(value: object) -> object:
    return NONE if value in (None, "") else value
