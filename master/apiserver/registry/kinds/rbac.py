"""Roles, bindings and certificate requests: who may do what, and who one is."""

import base64
import re
from typing import Any

from apimachinery.duration import human_duration
from apimachinery.errors import Cause

from ..strategy import Strategy
from .causes import Causes, duplicate, forbidden, invalid, not_supported, one_of, quoted, required
from .policy import CREATED_AT
from .printing import AGE, NAME, at, text

Object = dict[str, Any]

GROUP = "rbac.authorization.k8s.io"
_DECISIONS = ("Approved", "Denied")
_USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip


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

    def prepare_status(self, obj: Object, old: Object) -> None:
        """Who writes the certificate has no say in whether the request is approved."""
        decided = {c["type"]: c for c in at(old, "status.conditions", ()) if c.get("type") in _DECISIONS}
        kept = [
            decided.pop(c.get("type"), c)
            for c in at(obj, "status.conditions", ())
            if c.get("type") not in _DECISIONS or c["type"] in decided
        ]
        if kept or decided:
            obj.setdefault("status", {})["conditions"] = [*kept, *decided.values()]

    def validate(self, obj: Object) -> Causes:
        causes = [required(f"spec.{k}") for k in ("request", "signerName") if not at(obj, f"spec.{k}")]
        request = base64.b64decode(at(obj, "spec.request", ""))
        if request and b"-----BEGIN CERTIFICATE REQUEST-----" not in request:
            causes.append(
                invalid("spec.request", at(obj, "spec.request"), "PEM block type must be CERTIFICATE REQUEST")
            )
        signer = at(obj, "spec.signerName", "")
        if signer and not re.fullmatch(r"[^/]+\.[^/]+/[^/]+", signer):
            causes.append(invalid("spec.signerName", signer, "must be a fully qualified domain and path of the form "
                                  "'example.com/signer-name'"))  # fmt: skip
        for index, usage in enumerate(at(obj, "spec.usages", ())):
            causes += one_of(f"spec.usages[{index}]", usage, _USAGES, optional=False)
        expiration = at(obj, "spec.expirationSeconds")
        if expiration is not None and expiration < 600:
            detail = "may not specify a duration less than 600 seconds (10 minutes)"
            causes.append(invalid("spec.expirationSeconds", expiration, detail))
        return causes

    def validate_status(self, obj: Object, old: Object) -> Causes:
        new, before = at(obj, "status.certificate", ""), at(old, "status.certificate", "")
        causes = _request_conditions(obj, old)
        if before and new != before:
            return [*causes, forbidden("status.certificate", "updates may not modify existing certificate content")]
        if new and b"-----BEGIN CERTIFICATE-----" not in base64.b64decode(new):
            causes.append(invalid("status.certificate", "<certificate data>", "must contain one or more PEM blocks"))
        return causes

    def validate_part(self, part: str, obj: Object, old: Object) -> Causes:
        return _request_conditions(obj, old)


def _request_conditions(obj: Object, old: Object) -> Causes:
    """What has been decided about a request stays so, and it is either approved or denied."""
    types, before = ([c.get("type") for c in at(o, "status.conditions", ())] for o in (obj, old))
    field, causes = "status.conditions", list[Cause]()
    for kind in (*_DECISIONS, "Failed"):
        if kind in before and kind not in types:
            causes.append(forbidden(field, f"updates may not remove a condition of type {quoted(kind)}"))
    if set(_DECISIONS) <= set(types):
        causes.append(invalid(f"{field}[{len(types) - 1}].type", types[-1],
                              "Approved and Denied conditions are mutually exclusive"))  # fmt: skip
    for index, kind in enumerate(types):
        if not kind:
            causes.append(required(f"{field}[{index}].type"))
        elif kind in types[:index]:
            causes.append(duplicate(f"{field}[{index}].type", kind))
    return causes


def _condition(request: Object) -> str:
    types = {c.get("type") for c in at(request, "status.conditions", ())}
    shown = "Denied" if "Denied" in types else "Approved" if "Approved" in types else "Pending"
    if "Failed" in types:
        shown += ",Failed"
    return f"{shown},Issued" if at(request, "status.certificate") else shown
