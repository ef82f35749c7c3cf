"""APIServices: which group versions there are, and who answers for them.

Source: ``k8s.io/kube-aggregator/pkg/apis/apiregistration/validation``, ``.../registry/apiservice``.
"""

from typing import Any

from apimachinery import scheme, validation

from ..metadata import now
from ..strategy import Strategy
from .causes import Causes, each_invalid, forbidden, invalid, not_supported, required
from .printing import AGE, NAME, at, text

Object = dict[str, Any]
_OWN_GROUPS = frozenset(k.group for k in scheme.KINDS)
_STATUSES = ("False", "True", "Unknown")


class APIServiceStrategy(Strategy):
    status_metadata = ()
    has_generation = False
    unconditional_update = False
    status_zeros = {}
    columns = (
        NAME,
        text(
            "Service",
            lambda a: _service(at(a, "spec.service")),
            "The reference to the service that hosts this API endpoint.",
        ),
        text("Available", lambda a: _available(a), "Whether this service is available."),
        AGE,
    )

    def default(self, obj: Object) -> None:
        service = at(obj, "spec.service")
        if service is not None:
            service.setdefault("port", 443)

    def prepare_create(self, obj: Object) -> None:
        """What is served here is there at once."""
        obj["status"] = {}
        if at(obj, "spec.service") is None:
            condition = {"type": "Available", "status": "True", "lastTransitionTime": now(), "reason": "Local"}
            condition["message"] = "Local APIServices are always available"
            obj["status"] = {"conditions": [condition]}

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        group, version, name = spec.get("group") or "", spec.get("version") or "", at(obj, "metadata.name", "")
        causes: Causes = []
        if name != f"{version}.{group}":
            detail = f'must be `spec.version+"."+spec.group`: "{version}.{group}"'
            causes.append(invalid("metadata.name", name, detail))
        if group:
            causes += each_invalid("spec.group", group, validation.dns_subdomain(group))
        elif version != "v1":
            causes.append(required("spec.group", "only v1 may have an empty group and it better be legacy kube"))
        causes += each_invalid("spec.version", version, validation.dns_1035_label(version))
        for key, limit in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
            if not 0 < spec.get(key, 0) <= limit:
                causes.append(invalid(f"spec.{key}", spec.get(key, 0), f"must be positive and less than {limit}"))
        return causes + _backend(spec)

    def validate_status(self, obj: Object, old: Object) -> Causes:
        return [
            not_supported(f"status.conditions[{index}].status", condition.get("status"), _STATUSES)
            for index, condition in enumerate(at(obj, "status.conditions", ()))
            if condition.get("status") not in _STATUSES
        ]


def _backend(spec: Object) -> Causes:
    """Who answers: a Service, and how its certificate is known."""
    service, bundle, insecure = spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify")
    if service is None:
        causes: Causes = []
        if bundle:
            size = f"{len(bundle) * 3 // 4} bytes"
            causes.append(invalid("spec.caBundle", size, "local APIServices may not have a caBundle"))
        if insecure:
            detail = "local APIServices may not have insecureSkipTLSVerify"
            causes.append(invalid("spec.insecureSkipTLSVerify", insecure, detail))
        return causes
    causes = [] if spec.get("group") not in _OWN_GROUPS else [forbidden("spec.service", "this group is served here")]
    causes += [required(f"spec.service.{key}") for key in ("namespace", "name") if not service.get(key)]
    if insecure and bundle:
        causes.append(invalid("spec.insecureSkipTLSVerify", insecure, "may not be true if caBundle is present"))
    return causes


def _service(reference: Object | None) -> str:
    return f"{reference.get('namespace')}/{reference.get('name')}" if reference else "Local"


def _available(api: Object) -> str:
    condition = next((c for c in at(api, "status.conditions", ()) if c.get("type") == "Available"), None)
    if condition is None:
        return "Unknown"
    reason = f" ({condition['reason']})" if condition.get("reason") and condition.get("status") != "True" else ""
    return f"{condition.get('status')}{reason}"
