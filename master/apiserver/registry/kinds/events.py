"""Events: one store, two views. ``v1`` is stored; ``events.k8s.io/v1`` is the same with other names.

Source: ``k8s.io/kubernetes/pkg/apis/events/v1/conversion.go`` and ``pkg/registry/core/event/strategy.go``.
"""

from typing import Any

from apimachinery import validation
from apimachinery.duration import since

from ..strategy import Strategy
from .causes import Causes, each_invalid, immutable, invalid, required
from .printing import at, text

Object = dict[str, Any]

_CORE_NAMES = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_NEW_NAMES = {core: new for new, core in _CORE_NAMES.items()}
_TTL_SECONDS = 3600
_MAX_NOTE = 1024
_FIXED = (
    "involvedObject", "firstTimestamp", "lastTimestamp", "count", "reason", "type", "source", "eventTime", "action",
    "related", "reportingComponent", "reportingInstance",
)  # fmt: skip


def to_core(event: Object) -> Object:
    """An ``events.k8s.io/v1`` Event as ``v1``, which is how both are stored."""
    return {_CORE_NAMES.get(k, k): v for k, v in event.items()} | {"apiVersion": "v1"}


def from_core(event: Object) -> Object:
    """A stored Event as ``events.k8s.io/v1``."""
    return {_NEW_NAMES.get(k, k): v for k, v in event.items()} | {"apiVersion": "events.k8s.io/v1"}


def _last_seen(event: Object) -> str:
    seen = at(event, "series.lastObservedTime") or at(event, "lastTimestamp") or at(event, "eventTime")
    return since(seen)


def _first_seen(event: Object) -> str:
    return since(at(event, "firstTimestamp") or at(event, "eventTime"))


def _count(event: Object) -> object:
    return at(event, "series.count") or at(event, "count") or 1


def _object(event: Object) -> str:
    about = event.get("involvedObject") or {}
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}"


def _source(event: Object) -> str:
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {host}" if host else str(component)


def _label(path: str) -> tuple[str, Any]:
    return path, lambda event: str(at(event, path, ""))


_ABOUT = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


def _regarding(key: str) -> Any:
    return lambda event: str(at(event, f"involvedObject.{key}", ""))


class EventStrategy(Strategy):
    """The stored view, core/v1."""

    has_generation = False
    create_on_update = True
    ttl_seconds = _TTL_SECONDS
    columns = (
        text("Last Seen", _last_seen, "The time at which the most recent occurrence of this event was recorded."),
        text("Type", "type", "Type of this event (Normal, Warning), new types could be added in the future"),
        text("Reason", "reason", "A short, machine understandable string."),
        text("Object", _object, "The object that this event is about."),
        text("Subobject", "involvedObject.fieldPath", wide=True),
        text("Source", _source, wide=True),
        text(
            "Message",
            lambda e: str(at(e, "message", "")).strip(),
            "A human-readable description of the status of this operation.",
        ),
        text("First Seen", _first_seen, wide=True),
        text("Count", _count, wide=True),
        text("Name", "metadata.name", wide=True),
    )
    field_labels = dict(
        _label(path)
        for path in (
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "type",
        )
    ) | {
        **{f"regarding.{k}": _regarding(k) for k in _ABOUT},
        "source": lambda e: str(at(e, "source.component") or at(e, "reportingComponent", "")),
        "reportingController": lambda e: str(at(e, "reportingComponent", "")),
    }

    def default(self, obj: Object) -> None:
        obj.setdefault("involvedObject", {})  # it is always shown, and required by the published schema

    def validate(self, obj: Object) -> Causes:
        namespace, about = at(obj, "metadata.namespace", ""), at(obj, "involvedObject.namespace", "")
        if about != namespace and not (not about and namespace == "default"):
            return [invalid("involvedObject.namespace", about, "does not match event.namespace")]
        return _new_form(obj) if at(obj, "eventTime") else []


def _new_form(event: Object) -> Causes:
    """What an event with a time of its own must say; the complaints use the new names, whoever asks."""
    needed = {"reportingComponent": "reportingController", "reportingInstance": "reportingInstance"}
    needed |= {"action": "action", "reason": "reason"}
    causes = [required(shown) for key, shown in needed.items() if not event.get(key)]
    controller = event.get("reportingComponent")
    if controller:
        causes += each_invalid("reportingController", controller, validation.qualified_name(controller))
    for key, limit in (("reportingInstance", 128), ("action", 128), ("reason", 128)):
        if len(event.get(key) or "") > limit:
            causes.append(invalid(key, "", f"can have at most {limit} characters"))
    if len(event.get("message") or "") > _MAX_NOTE:
        causes.append(invalid("message", "", f"can have at most {_MAX_NOTE} characters"))
    return causes


class SecondEventStrategy(EventStrategy):
    """The events.k8s.io/v1 view of the same events."""

    second_view = True

    def validate_create(self, obj: Object) -> Causes:
        causes = [] if at(obj, "eventTime") else [required("eventTime")]
        if obj.get("type") not in ("Normal", "Warning"):
            causes.append(invalid("type", "", f"has invalid value: {obj.get('type', '')}"))
        old_form = ("firstTimestamp", "lastTimestamp", "count")
        causes += [invalid(key, "", "needs to be unset") for key in old_form if obj.get(key)]
        return causes + [invalid("source", "", "needs to be unset") for key in ("component", "host")
                         if at(obj, f"source.{key}")]  # fmt: skip

    def validate_update(self, obj: Object, old: Object) -> Causes:
        return [immutable(key, obj.get(key)) for key in _FIXED if (obj.get(key) or None) != (old.get(key) or None)]

    def to_stored(self, obj: Object) -> None:
        made = to_core(obj)
        obj.clear()
        obj.update(made)

    def shown(self, obj: Object) -> Object:
        return from_core(obj) if obj.get("kind") == self.kind.kind else obj
