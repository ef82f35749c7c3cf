"""Validation of a pod spec as a whole, of its volumes, and of what an update of a pod may change.

Source: ``k8s.io/kubernetes/pkg/apis/core/validation/validation.go``.
"""

import re
from collections.abc import Collection
from typing import Any

from apimachinery import validation
from apimachinery.errors import Cause

from .causes import Causes, duplicate, each_invalid, forbidden, invalid, non_negative, one_of, required
from .metadata import validate_annotations, validate_label_selector, validate_labels
from .pod_containers import validate_containers

Object = dict[str, Any]

_SYSCTL = re.compile(r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?([./][a-z0-9]([-_a-z0-9]*[a-z0-9])?)*")
TAINT_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")


def validate_pod_spec(spec: Object, field: str) -> Causes:
    """A pod's spec, or a template's at another ``field``."""
    volumes = spec.get("volumes") or ()
    return [
        *_volumes(volumes, f"{field}.volumes"),
        *validate_containers(spec, {v.get("name", ""): v for v in volumes}, field),
        *one_of(f"{field}.restartPolicy", spec.get("restartPolicy"), ("Always", "Never", "OnFailure"), optional=False),
        *one_of(
            f"{field}.dnsPolicy", spec.get("dnsPolicy"), ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
        ),
        *_dns(spec, field),
        *validate_labels(spec.get("nodeSelector"), f"{field}.nodeSelector"),
        *_names(spec, field),
        *_deadline(spec, field),
        *_tolerations(spec.get("tolerations") or (), f"{field}.tolerations"),
        *_affinity(spec.get("affinity") or {}, f"{field}.affinity"),
        *_spread(spec.get("topologySpreadConstraints") or (), f"{field}.topologySpreadConstraints"),
        *_sysctls((spec.get("securityContext") or {}).get("sysctls") or (), f"{field}.securityContext.sysctls"),
    ]


def validate_template(template: Object | None, field: str) -> Causes:
    if template is None:
        return [required(field)]
    meta = template.get("metadata") or {}
    return [
        *validate_labels(meta.get("labels"), f"{field}.labels"),
        *validate_annotations(meta.get("annotations"), f"{field}.annotations"),
        *validate_pod_spec(template.get("spec") or {}, f"{field}.spec"),
        *_no_ephemeral(template.get("spec") or {}, f"{field}.spec", "ephemeral containers not allowed in pod template"),
    ]


def validate_new_pod(spec: Object) -> Causes:
    """What only a stored pod may have."""
    causes = _no_ephemeral(spec, "spec", "cannot be set on create")
    if spec.get("nodeName") and spec.get("schedulingGates"):
        causes.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return causes


def _no_ephemeral(spec: Object, field: str, why: str) -> Causes:
    return [forbidden(f"{field}.ephemeralContainers", why)] if spec.get("ephemeralContainers") else []


def _volumes(volumes: Collection[Object], field: str) -> Causes:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        place, name = f"{field}[{index}]", volume.get("name", "")
        causes += (
            each_invalid(f"{place}.name", name, validation.dns_label(name)) if name else [required(f"{place}.name")]
        )
        if name in seen:
            causes.append(duplicate(f"{place}.name", name))
        seen.add(name)
        causes += _source(volume, place)
    return causes


def _source(volume: Object, field: str) -> Causes:
    sources = [k for k, v in volume.items() if isinstance(v, dict)]
    if not sources:
        return [required(field, "must specify a volume type")]
    causes = [forbidden(f"{field}.{s}", "may not specify more than 1 volume type") for s in sources[1:]]
    source = volume[sources[0]]
    needed = {"configMap": "name", "secret": "secretName", "hostPath": "path", "persistentVolumeClaim": "claimName"}
    key = needed.get(sources[0])
    if key and not source.get(key):
        causes.append(required(f"{field}.{sources[0]}.{key}"))
    for index, item in enumerate(source.get("items") or () if sources[0] in ("configMap", "secret") else ()):
        causes += _item(item, f"{field}.{sources[0]}.items[{index}]")
    mode = source.get("defaultMode")
    if mode is not None and not 0 <= mode <= 0o777:
        causes.append(
            invalid(
                f"{field}.{sources[0]}.defaultMode", mode, "must be a number between 0 and 0777 (octal), both inclusive"
            )
        )
    return causes


def _item(item: Object, field: str) -> Causes:
    causes = [required(f"{field}.{key}") for key in ("key", "path") if not item.get(key)]
    path = item.get("path") or ""
    if path.startswith("/"):
        causes.append(invalid(f"{field}.path", path, "must be a relative path"))
    if ".." in path.split("/"):
        causes.append(invalid(f"{field}.path", path, "must not contain '..'"))
    return causes


def _dns(spec: Object, field: str) -> Causes:
    config = spec.get("dnsConfig") or {}
    if spec.get("dnsPolicy") == "None" and not config.get("nameservers"):
        return [
            required(
                f"{field}.dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"
            )
        ]
    return [
        cause
        for index, server in enumerate(config.get("nameservers") or ())
        for cause in each_invalid(f"{field}.dnsConfig.nameservers[{index}]", server, validation.ip_address(server))
    ]


def _names(spec: Object, field: str) -> Causes:
    causes: list[Cause] = []
    for key, check in (
        ("serviceAccountName", validation.dns_subdomain),
        ("nodeName", validation.dns_subdomain),
        ("hostname", validation.dns_label),
        ("subdomain", validation.dns_label),
        ("priorityClassName", validation.dns_subdomain),
    ):
        if spec.get(key):
            causes += each_invalid(f"{field}.{key}", spec[key], check(spec[key]))
    return causes


def _deadline(spec: Object, field: str) -> Causes:
    deadline = spec.get("activeDeadlineSeconds")
    causes = non_negative(f"{field}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        detail = f"must be between 1 and {2**31 - 1}, inclusive"
        causes.append(invalid(f"{field}.activeDeadlineSeconds", deadline, detail))
    return causes


def _tolerations(tolerations: Collection[Object], field: str) -> Causes:
    causes: list[Cause] = []
    for index, toleration in enumerate(tolerations):
        place = f"{field}[{index}]"
        key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
        if key:
            causes += each_invalid(f"{place}.key", key, validation.qualified_name(key))
        elif operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            causes.append(invalid(f"{place}.operator", operator, detail))
        if operator == "Exists" and toleration.get("value"):
            causes.append(
                invalid(f"{place}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'")
            )
        causes += one_of(f"{place}.operator", operator, ("Equal", "Exists", "Lt", "Gt"))
        causes += one_of(f"{place}.effect", toleration.get("effect"), TAINT_EFFECTS)
        if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            causes.append(invalid(f"{place}.effect", toleration.get("effect", ""), detail))
    return causes


def _affinity(affinity: Object, field: str) -> Causes:
    causes: list[Cause] = []
    required_nodes = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    place = f"{field}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    if required_nodes is not None and not required_nodes.get("nodeSelectorTerms"):
        causes.append(required(place, "must have at least one node selector term"))
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        for index, term in enumerate(terms):
            causes += _pod_term(term, f"{field}.{kind}.requiredDuringSchedulingIgnoredDuringExecution[{index}]")
        for index, weighted in enumerate(rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            spot = f"{field}.{kind}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
            if not 1 <= weighted.get("weight", 0) <= 100:
                causes.append(invalid(f"{spot}.weight", weighted.get("weight", 0), "must be in the range 1-100"))
            causes += _pod_term(weighted.get("podAffinityTerm") or {}, f"{spot}.podAffinityTerm")
    return causes


def _pod_term(term: Object, field: str) -> Causes:
    key = term.get("topologyKey") or ""
    if not key:
        return [required(f"{field}.topologyKey", "can not be empty")]
    causes = each_invalid(f"{field}.topologyKey", key, validation.qualified_name(key))
    return causes + validate_label_selector(term.get("labelSelector"), f"{field}.labelSelector")


def _spread(constraints: Collection[Object], field: str) -> Causes:
    causes: list[Cause] = []
    for index, constraint in enumerate(constraints):
        place = f"{field}[{index}]"
        if constraint.get("maxSkew", 0) <= 0:
            causes.append(invalid(f"{place}.maxSkew", constraint.get("maxSkew", 0), "must be greater than zero"))
        if not constraint.get("topologyKey"):
            causes.append(required(f"{place}.topologyKey", "can not be empty"))
        causes += one_of(
            f"{place}.whenUnsatisfiable",
            constraint.get("whenUnsatisfiable"),
            ("DoNotSchedule", "ScheduleAnyway"),
            optional=False,
        )
        causes += validate_label_selector(constraint.get("labelSelector"), f"{place}.labelSelector")
    return causes


def _sysctls(sysctls: Collection[Object], field: str) -> Causes:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, sysctl in enumerate(sysctls):
        name = sysctl.get("name") or ""
        if not name:
            causes.append(required(f"{field}[{index}].name"))
        elif len(name) > 253 or not _SYSCTL.fullmatch(name):
            detail = f"must have at most 253 characters and match regex ^{_SYSCTL.pattern}$"
            causes.append(invalid(f"{field}[{index}].name", name, detail))
        elif name in seen:
            causes.append(duplicate(f"{field}[{index}].name", name))
        seen.add(name)
    return causes
