"""Leases and the other small kinds of coordination."""

from typing import Any

from ..strategy import Strategy
from .causes import Causes, invalid, non_negative
from .pod_defaults import default_template
from .pod_validation import validate_template
from .printing import AGE, NAME, at, labels, number, text

Object = dict[str, Any]


class LeaseStrategy(Strategy):
    has_generation = False
    create_on_update = True
    unconditional_update = False
    columns = (NAME, text("Holder", "spec.holderIdentity", "holderIdentity contains the identity of the holder."), AGE)

    def validate(self, obj: Object) -> Causes:
        seconds = at(obj, "spec.leaseDurationSeconds")
        causes = non_negative("spec.leaseTransitions", at(obj, "spec.leaseTransitions"))
        if seconds is not None and seconds <= 0:
            causes.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
        return causes


class ComponentStatusStrategy(Strategy):
    deprecated = "v1 ComponentStatus is deprecated in v1.19+"
    columns = (
        NAME,
        text("Status", lambda c: _HEALTH.get(_healthy(c).get("status", ""), "Unknown"), "Status of the component"),
        text("Message", lambda c: _healthy(c).get("message", ""), "Message of the component conditions"),
        text("Error", lambda c: _healthy(c).get("error", ""), "Error of the component conditions"),
    )


_HEALTH: dict[str, str] = {"True": "Healthy", "False": "Unhealthy"}


def _healthy(obj: Object) -> Object:
    return next((c for c in obj.get("conditions") or () if c.get("type") == "Healthy"), {})


class ControllerRevisionStrategy(Strategy):
    has_generation = False
    columns = (
        NAME,
        text("Controller", lambda r: _controller(r), "Controller of the object"),
        number("Revision", "revision", "Revision indicates the revision of the state represented by Data."),
        AGE,
    )

    def validate(self, obj: Object) -> Causes:
        return non_negative("revision", obj.get("revision"))

    def validate_update(self, obj: Object, old: Object) -> Causes:
        return [] if obj.get("data") == old.get("data") else [invalid("data", "", "field is immutable")]


def _controller(obj: Object) -> str:
    owner = next((o for o in at(obj, "metadata.ownerReferences", ()) if o.get("controller")), None)
    if owner is None:
        return "<none>"
    group, slash, _ = owner.get("apiVersion", "").partition("/")
    return f"{owner.get('kind', '').lower()}{'.' + group if slash else ''}/{owner.get('name', '')}"


class PodTemplateStrategy(Strategy):
    create_on_update = True

    def default(self, obj: Object) -> None:
        default_template(obj)

    columns = (
        NAME,
        text("Containers", lambda t: _joined(t, "name"), "Names of each container in the template."),
        text("Images", lambda t: _joined(t, "image"), "Images referenced by each container in the template."),
        text("Pod Labels", lambda t: labels(at(t, "template.metadata.labels")), "The labels for the pod template."),
    )

    def validate(self, obj: Object) -> Causes:
        return validate_template(obj.get("template"), "template")


def _joined(template: Object, key: str) -> str:
    return ",".join(c.get(key, "") for c in at(template, "template.spec.containers", ()))
