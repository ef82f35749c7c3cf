"""ReplicationControllers: a plain map for a selector, defaulted from the template."""

from typing import Any

from .causes import Causes, invalid, non_negative, required
from .metadata import validate_labels
from .pod_validation import validate_template
from .printing import AGE, NAME, at, containers, labels, number, text
from .workloads import WorkloadStrategy

Object = dict[str, Any]


class ReplicationControllerStrategy(WorkloadStrategy):
    status_zeros = {"replicas": 0}
    columns = (
        NAME,
        number("Desired", "spec.replicas", "Replicas is the number of desired replicas."),
        number("Current", "status.replicas", "Replicas is the most recently observed number of replicas."),
        number("Ready", "status.readyReplicas", "The number of ready replicas for this replication controller."),
        AGE,
        *containers(),
        text("Selector", lambda rc: labels(at(rc, "spec.selector")), wide=True),
    )
    field_labels = {"status.replicas": lambda obj: str(at(obj, "status.replicas", 0))}
    default_propagation = "Orphan"

    def default(self, obj: Object) -> None:
        super().default(obj)
        spec = obj["spec"]
        spec.setdefault("replicas", 1)
        own = at(spec, "template.metadata.labels")
        if own:
            if not spec.get("selector"):
                spec["selector"] = dict(own)
            if not at(obj, "metadata.labels"):
                obj.setdefault("metadata", {})["labels"] = dict(own)

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        selector, own = spec.get("selector") or {}, at(spec, "template.metadata.labels", {})
        causes = non_negative("spec.replicas", spec.get("replicas")) + validate_labels(selector, "spec.selector")
        if not selector:
            causes.append(required("spec.selector"))
        elif any(own.get(k) != v for k, v in selector.items()):
            detail = "`selector` does not match template `labels`"
            causes.append(invalid("spec.template.metadata.labels", own, detail))
        causes += validate_template(spec.get("template"), "spec.template")
        return causes + self._restart_policy(spec) + self._deadline(spec)

    def validate_update(self, obj: Object, old: Object) -> Causes:
        return []
