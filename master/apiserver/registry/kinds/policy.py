"""ResourceQuotas, LimitRanges, PodDisruptionBudgets, PriorityClasses, RuntimeClasses."""

from collections.abc import Sequence
from typing import Any

from apimachinery import quantity, validation
from apimachinery.errors import Cause

from ..strategy import Strategy
from .causes import Causes, duplicate, each_invalid, forbidden, immutable, invalid, one_of, required
from .metadata import validate_label_selector
from .pod_defaults import set_default
from .printing import AGE, NAME, at, number, text
from .workloads import int_or_percent

Object = dict[str, Any]

QUOTA_SCOPES = frozenset(
    (
        "BestEffort",
        "CrossNamespacePodAffinity",
        "NotBestEffort",
        "NotTerminating",
        "PriorityClass",
        "Terminating",
        "VolumeAttributesClass",
    )
)
HIGHEST_USER_PRIORITY = 1_000_000_000
CREATED_AT = text("Created At", "metadata.creationTimestamp", "When the object was created.")


class ResourceQuotaStrategy(Strategy):
    has_generation = False
    status_zeros = {}
    columns = (
        NAME,
        text(
            "Request",
            lambda q: _usage(q, limits=False),
            "Request represents a minimum amount of cpu/memory that a container may consume.",
        ),
        text(
            "Limit",
            lambda q: _usage(q, limits=True),
            "Limits control the maximum amount of cpu/memory that a container may use.",
        ),
        AGE,
    )

    def validate(self, obj: Object) -> Causes:
        scopes = at(obj, "spec.scopes", [])
        causes: Causes = []
        if not QUOTA_SCOPES.issuperset(scopes):
            causes.append(invalid("spec.scopes", scopes, "unsupported scope"))
        for name, amount in at(obj, "spec.hard", {}).items():
            field = f"spec.hard[{name}]"
            causes += each_invalid(field, name, validation.qualified_name(name))
            if quantity.parse(amount) < 0:
                causes.append(invalid(field, amount, "must be greater than or equal to 0"))
        return causes

    def validate_update(self, obj: Object, old: Object) -> Causes:
        scopes = at(obj, "spec.scopes", [])
        same = sorted(scopes) == sorted(at(old, "spec.scopes", []))
        return [] if same else [invalid("spec.scopes", scopes, "field is immutable")]


def _usage(quota: Object, *, limits: bool) -> str:
    hard, used = at(quota, "status.hard", {}), at(quota, "status.used", {})
    names = [n for n in sorted(hard) if n.startswith("limits.") == limits]
    return ", ".join(f"{n}: {used.get(n, '0')}/{hard[n]}" for n in names)


class LimitRangeStrategy(Strategy):
    has_generation = False
    create_on_update = True
    columns = (NAME, CREATED_AT)

    def default(self, obj: Object) -> None:
        for item in at(obj, "spec.limits", ()):
            if item.get("type") != "Container":
                continue
            limits, requests = (item.get(k) or {} for k in ("default", "defaultRequest"))
            limits = (item.get("max") or {}) | limits
            requests = (item.get("min") or {}) | limits | requests
            item.update({k: v for k, v in (("default", limits), ("defaultRequest", requests)) if v})

    def validate(self, obj: Object) -> Causes:
        causes: Causes = []
        types = [item.get("type") for item in at(obj, "spec.limits", ())]
        for index, item in enumerate(at(obj, "spec.limits", ())):
            field = f"spec.limits[{index}]"
            causes += _limit_form(item, types[:index], field)
            low, high = item.get("min") or {}, item.get("max") or {}
            for name, amount in low.items():
                if name in high and quantity.parse(amount) > quantity.parse(high[name]):
                    detail = f"min value {amount} is greater than max value {high[name]}"
                    causes.append(invalid(f"{field}.min[{name}]", amount, detail))
            for key in ("default", "defaultRequest"):
                causes += _within(item.get(key) or {}, low, high, f"{field}.{key}", key)
        return causes


def _limit_form(item: Object, before: Sequence[Any], field: str) -> Causes:
    """What a limit of its type may have."""
    kind, causes = item.get("type") or "", list[Cause]()
    if kind in before:
        causes.append(duplicate(f"{field}.type", kind))
    if kind == "Pod":
        causes += [
            forbidden(f"{field}.{key}", "may not be specified when `type` is 'Pod'")
            for key in ("default", "defaultRequest")
            if item.get(key)
        ]
    if kind == "PersistentVolumeClaim" and not (at(item, "min.storage") or at(item, "max.storage")):
        detail = "either minimum or maximum storage value is required, but neither was provided"
        causes.append(required(f"{field}.limits", detail))
    for name, ratio in (item.get("maxLimitRequestRatio") or {}).items():
        if quantity.parse(ratio) < 1:
            detail = f"ratio {ratio} is less than 1"
            causes.append(invalid(f"{field}.maxLimitRequestRatio[{name}]", ratio, detail))
    return causes


def _within(amounts: Object, low: Object, high: Object, field: str, what: str) -> Causes:
    causes: Causes = []
    label = "default" if what == "default" else "default request"
    for name, amount in amounts.items():
        value = quantity.parse(amount)
        if name in low and value < quantity.parse(low[name]):
            causes.append(
                invalid(f"{field}[{name}]", amount, f"{label} value {amount} is less than min value {low[name]}")
            )
        if name in high and value > quantity.parse(high[name]):
            causes.append(
                invalid(f"{field}[{name}]", amount, f"{label} value {amount} is greater than max value {high[name]}")
            )
    return causes


class PodDisruptionBudgetStrategy(Strategy):
    unconditional_update = False
    status_zeros = dict.fromkeys(("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"), 0)
    columns = (
        NAME,
        text(
            "Min Available",
            lambda b: str(at(b, "spec.minAvailable", "N/A")),
            "The minimum number of pods that must be available.",
        ),
        text(
            "Max Unavailable",
            lambda b: str(at(b, "spec.maxUnavailable", "N/A")),
            "The maximum number of pods that may be unavailable.",
        ),
        number(
            "Allowed Disruptions",
            "status.disruptionsAllowed",
            "Calculated number of pods that may be disrupted at this time.",
        ),
        AGE,
    )

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        both = [k for k in ("minAvailable", "maxUnavailable") if spec.get(k) is not None]
        if len(both) == 2:
            return [invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")]
        causes = validate_label_selector(spec.get("selector"), "spec.selector")
        policies = ("AlwaysAllow", "IfHealthyBudget")
        causes += one_of("spec.unhealthyPodEvictionPolicy", spec.get("unhealthyPodEvictionPolicy"), policies)
        return causes + [c for k in both for c in int_or_percent(f"spec.{k}", spec[k])]


class PriorityClassStrategy(Strategy):
    columns = (
        NAME,
        number("Value", "value", "The value of this priority class."),
        text("Global-Default", lambda p: "true" if p.get("globalDefault") else "false"),
        AGE,
        text("PreemptionPolicy", lambda p: at(p, "preemptionPolicy", "PreemptLowerPriority")),
    )

    def default(self, obj: Object) -> None:
        set_default(obj, "preemptionPolicy", "PreemptLowerPriority")
        obj.setdefault("value", 0)

    def validate(self, obj: Object) -> Causes:
        name, level = at(obj, "metadata.name", ""), obj.get("value", 0)
        causes = one_of("preemptionPolicy", obj.get("preemptionPolicy"), ("Never", "PreemptLowerPriority"))
        if name in ("system-node-critical", "system-cluster-critical"):
            return causes
        if name.startswith("system-"):
            detail = "priority class names with 'system-' prefix are reserved for system use only"
            detail += f". error: {name} is not a known system priority class"
            causes.append(forbidden("metadata.name", detail))
        if level > HIGHEST_USER_PRIORITY:
            detail = f"maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"
            causes.append(forbidden("value", detail))
        return causes

    def validate_update(self, obj: Object, old: Object) -> Causes:
        causes = []
        if obj.get("value") != old.get("value"):
            causes.append(forbidden("value", "may not be changed in an update."))
        if obj.get("preemptionPolicy") != old.get("preemptionPolicy"):
            causes.append(immutable("preemptionPolicy", obj.get("preemptionPolicy")))
        return causes


class RuntimeClassStrategy(Strategy):
    has_generation = False
    unconditional_update = False
    columns = (NAME, text("Handler", "handler", "handler specifies the underlying runtime and configuration."), AGE)

    def validate(self, obj: Object) -> Causes:
        handler = obj.get("handler", "")
        return each_invalid("handler", handler, validation.dns_label(handler))

    def validate_update(self, obj: Object, old: Object) -> Causes:
        same = obj.get("handler") == old.get("handler")
        return [] if same else [immutable("handler", obj.get("handler"))]
