"""What the kinds with a pod template and a selector have in common."""

from typing import Any

from apimachinery import selectors, validation
from apimachinery.errors import Cause

from ..strategy import Strategy
from .causes import Causes, each_invalid, forbidden, immutable, invalid, non_negative, not_supported, required
from .metadata import validate_label_selector
from .pod_defaults import default_template
from .pod_validation import validate_template

Object = dict[str, Any]


class WorkloadStrategy(Strategy):
    """Defaults the template, demands a fixed selector that matches it, and pods that always restart."""

    restart_policies: tuple[str, ...] = ("Always",)
    noun: str = "deployment"
    """What the complaint about an empty selector calls it; a ReplicaSet is a deployment there, too."""

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        default_template(spec)
        self.default_spec(spec)

    def default_spec(self, spec: Object) -> None:
        """What this workload adds."""

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        return [
            *non_negative("spec.replicas", spec.get("replicas")),
            *non_negative("spec.minReadySeconds", spec.get("minReadySeconds")),
            *non_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit")),
            *validate_selector(spec, self.noun),
            *validate_template(self.whole_template(spec), "spec.template"),
            *self._restart_policy(spec),
            *self._deadline(spec),
            *self.validate_spec(spec),
        ]

    def validate_spec(self, spec: Object) -> Causes:
        return []

    def whole_template(self, spec: Object) -> Object | None:
        """The template as its pods will have it."""
        return spec.get("template")

    def _restart_policy(self, spec: Object) -> Causes:
        policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
        if policy in self.restart_policies:
            return []
        return [not_supported("spec.template.spec.restartPolicy", policy, self.restart_policies)]

    def _deadline(self, spec: Object) -> Causes:
        """Pods that always restart have no deadline."""
        if ((spec.get("template") or {}).get("spec") or {}).get("activeDeadlineSeconds") is None:
            return []
        kind = "ReplicaSet" if self.kind.kind == "Deployment" else self.kind.kind
        why = f"activeDeadlineSeconds in {kind} is not Supported"
        return [forbidden("spec.template.spec.activeDeadlineSeconds", why)]

    def validate_update(self, obj: Object, old: Object) -> Causes:
        selector = (obj.get("spec") or {}).get("selector")
        return [] if selector == (old.get("spec") or {}).get("selector") else [immutable("spec.selector", selector)]


def validate_selector(spec: Object, noun: str) -> Causes:
    """A label selector that is there, is not empty, and matches the template's labels."""
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")]
    causes = validate_label_selector(selector, "spec.selector")
    if causes:
        return causes
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [invalid("spec.selector", selector, f"empty selector is invalid for {noun}")]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if not selectors.from_object(selector).matches(labels):
        return [invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")]
    return []


def int_or_percent(field: str, value: Any, *, limited: bool = True) -> list[Cause]:
    """An absolute number or a percentage; up to 100% if ``limited``."""
    if value is None:
        return []
    if isinstance(value, int):
        return non_negative(field, value)
    problems = each_invalid(field, value, validation.percent(value))
    if not problems and limited and int(value[:-1]) > 100:
        return [invalid(field, value, "must not be greater than 100%")]
    return problems


def is_zero(value: Any) -> bool:
    return value in (0, "0%") or value is None
