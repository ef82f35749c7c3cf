"""Roles, bindings and certificate requests: who may do what, and who one is."""

from typing import Any

from apimachinery.duration import human_duration
from apimachinery.errors import Cause

from ..strategy import Strategy
from .causes import Causes, invalid, not_supported, required
from .policy import CREATED_AT
from .printing import AGE, NAME, at, text

Object = dict[str, Any]

GROUP = "rbac.authorization.k8s.io"


class RoleStrategy(Strategy):
    has_generation = False
    create_on_update = True
    columns = (NAME, CREATED_AT)

    def validate(self, obj: Object) -> Causes:
        causes: list[Cause] = []
        for index, rule in enumerate(obj.get("rules") or ()):
            field = f"rules[{index}]"
            if not rule.get("verbs"):
                causes.append(required(f"{field}.verbs", "verbs must contain at least one value"))
            if rule.get("nonResourceURLs"):
                if self.kind.namespaced:
                    detail = "namespaced rules cannot apply to non-resource URLs"
                    causes.append(invalid(f"{field}.nonResourceURLs", rule["nonResourceURLs"], detail))
                elif rule.get("apiGroups") or rule.get("resources"):
                    detail = "rules cannot apply to both regular resources and non-resource URLs"
                    causes.append(invalid(f"{field}.nonResourceURLs", rule["nonResourceURLs"], detail))
                continue
            if not rule.get("apiGroups"):
                causes.append(required(f"{field}.apiGroups", "resource rules must supply at least one api group"))
            if not rule.get("resources"):
                causes.append(required(f"{field}.resources", "resource rules must supply at least one resource"))
        return causes


class BindingStrategy(Strategy):
    has_generation = False
    create_on_update = True
    columns = (
        NAME,
        text("Role", lambda b: f"{at(b, 'roleRef.kind', '')}/{at(b, 'roleRef.name', '')}"),
        AGE,
        text("Users", lambda b: _subjects(b, "User"), wide=True),
        text("Groups", lambda b: _subjects(b, "Group"), wide=True),
        text("ServiceAccounts", lambda b: _subjects(b, "ServiceAccount"), wide=True),
    )

    def default(self, obj: Object) -> None:
        reference = obj.setdefault("roleRef", {})
        if not reference.get("apiGroup"):
            reference["apiGroup"] = GROUP
        for subject in obj.get("subjects") or ():
            if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
                subject["apiGroup"] = GROUP

    def validate(self, obj: Object) -> Causes:
        reference = obj.get("roleRef") or {}
        kinds = ("ClusterRole", "Role") if self.kind.namespaced else ("ClusterRole",)
        causes: list[Cause] = []
        if reference.get("apiGroup") != GROUP:
            causes.append(not_supported("roleRef.apiGroup", reference.get("apiGroup"), (GROUP,)))
        if reference.get("kind") not in kinds:
            causes.append(not_supported("roleRef.kind", reference.get("kind", ""), kinds))
        if not reference.get("name"):
            causes.append(required("roleRef.name"))
        for index, subject in enumerate(obj.get("subjects") or ()):
            causes += _subject(subject, f"subjects[{index}]")
        return causes

    def validate_update(self, obj: Object, old: Object) -> Causes:
        if obj.get("roleRef") == old.get("roleRef"):
            return []
        return [invalid("roleRef", obj.get("roleRef"), "cannot change roleRef")]


def _subject(subject: Object, field: str) -> Causes:
    causes = [] if subject.get("name") else [required(f"{field}.name")]
    kind = subject.get("kind", "")
    if kind not in ("Group", "ServiceAccount", "User"):
        causes.append(not_supported(f"{field}.kind", kind, ("Group", "ServiceAccount", "User")))
    if kind == "ServiceAccount" and not subject.get("namespace"):
        causes.append(required(f"{field}.namespace"))
    return causes


def _subjects(binding: Object, kind: str) -> str:
    found = [s for s in binding.get("subjects") or () if s.get("kind") == kind]
    return ", ".join(f"{s['namespace']}/{s['name']}" if s.get("namespace") else s.get("name", "") for s in found)


class CertificateSigningRequestStrategy(Strategy):
    has_generation = False
    status_zeros = {}
    columns = (
        NAME,
        AGE,
        text("SignerName", "spec.signerName", "signerName indicates the requested signer."),
        text("Requestor", "spec.username", "username contains the name of the user that created the request."),
        text("RequestedDuration", lambda c: human_duration(s) if (s := at(c, "spec.expirationSeconds")) else "<none>"),
        text("Condition", lambda c: _condition(c)),
    )
    field_labels = {"spec.signerName": lambda c: str(at(c, "spec.signerName", ""))}

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("usages"):
            spec["usages"] = ["digital signature", "key encipherment"]

    def prepare_update(self, obj: Object, old: Object) -> None:
        obj["spec"] = old.get("spec") or {}

    def validate(self, obj: Object) -> Causes:
        causes = [required(f"spec.{k}") for k in ("request", "signerName") if not at(obj, f"spec.{k}")]
        expiration = at(obj, "spec.expirationSeconds")
        if expiration is not None and expiration < 600:
            causes.append(
                invalid(
                    "spec.expirationSeconds",
                    expiration,
                    "may not specify a duration less than 600 seconds (10 minutes)",
                )
            )
        return causes


def _condition(request: Object) -> str:
    types = {c.get("type") for c in at(request, "status.conditions", ())}
    shown = "Denied" if "Denied" in types else "Approved" if "Approved" in types else "Pending"
    if "Failed" in types:
        shown += ",Failed"
    return f"{shown},Issued" if at(request, "status.certificate") else shown
