"""Validation of containers: what the pipeline refuses, in upstream's words.

Source: ``k8s.io/kubernetes/pkg/apis/core/validation/validation.go``.
"""

from collections.abc import Collection, Mapping
from typing import Any

from apimachinery import quantity, validation
from apimachinery.errors import Cause

from .causes import Causes, duplicate, each_invalid, forbidden, invalid, non_negative, not_supported, one_of, required
from .pod_mounts import validate_mounts
from .pod_probes import validate_lifecycle, validate_probes

Object = dict[str, Any]

PROTOCOLS = ("SCTP", "TCP", "UDP")
_NATIVE = ("cpu", "memory", "ephemeral-storage")
_FIELD_PATHS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip


def validate_containers(spec: Object, volumes: Mapping[str, Object], field: str) -> Causes:
    """All containers of a pod spec with these ``volumes`` by name; names are unique over all kinds of containers."""
    if not spec.get("containers"):
        return [required(f"{field}.containers")]
    causes: list[Cause] = []
    seen: set[str] = set()
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            place = f"{field}.{group}[{index}]"
            causes += _container(container, volumes, place)
            name = container.get("name", "")
            if name in seen:
                causes.append(duplicate(f"{place}.name", name))
            seen.add(name)
            causes += _init_rules(container, place) if group == "initContainers" else _main_rules(container, place)
    causes += _host_port_conflicts(spec, field)
    return causes


def _container(container: Object, volumes: Mapping[str, Object], field: str) -> Causes:
    return [
        *_name_and_image(container, field),
        *one_of(f"{field}.imagePullPolicy", container.get("imagePullPolicy"), ("Always", "IfNotPresent", "Never")),
        *one_of(
            f"{field}.terminationMessagePolicy",
            container.get("terminationMessagePolicy"),
            ("File", "FallbackToLogsOnError"),
        ),
        *_ports(container.get("ports") or (), f"{field}.ports"),
        *_env(container.get("env") or (), f"{field}.env"),
        *_env_from(container.get("envFrom") or (), f"{field}.envFrom"),
        *validate_mounts(container, volumes, field),
        *validate_resources(container.get("resources") or {}, f"{field}.resources"),
        *validate_probes(container, field),
        *validate_lifecycle(container.get("lifecycle") or {}, f"{field}.lifecycle"),
        *_security(container.get("securityContext") or {}, f"{field}.securityContext"),
    ]


def _name_and_image(container: Object, field: str) -> Causes:
    name, image = container.get("name", ""), container.get("image", "")
    causes = each_invalid(f"{field}.name", name, validation.dns_label(name)) if name else [required(f"{field}.name")]
    if not image:
        causes.append(required(f"{field}.image"))
    elif image != image.strip():
        causes.append(invalid(f"{field}.image", image, "must not have leading or trailing whitespace"))
    return causes


def _main_rules(container: Object, field: str) -> Causes:
    if container.get("restartPolicy") and not container.get("restartPolicyRules"):
        return one_of(f"{field}.restartPolicy", container["restartPolicy"], ("Always", "Never", "OnFailure"))
    return _restart_rules(container, f"{field}.restartPolicyRules")


def _restart_rules(container: Object, field: str) -> Causes:
    """Source: ``validateContainerRestartPolicy``. Restarting all containers is not offered."""
    rules = container.get("restartPolicyRules") or ()
    causes: Causes = []
    if rules and not container.get("restartPolicy"):
        detail = "must specify restartPolicy when restart rules are used"
        causes.append(required(field.removesuffix("Rules"), detail))
    for index, rule in enumerate(rules):
        place, codes = f"{field}[{index}]", rule.get("exitCodes")
        causes += one_of(f"{place}.action", rule.get("action", ""), ("Restart",))
        if codes is None:
            causes.append(required(f"{place}.exitCodes", "must be specified"))
        else:
            causes += one_of(f"{place}.exitCodes.operator", codes.get("operator", ""), ("In", "NotIn"))
    return causes


def _init_rules(container: Object, field: str) -> Causes:
    policy = container.get("restartPolicy")
    causes = one_of(f"{field}.restartPolicy", policy, ("Always", "Never", "OnFailure"))
    if policy != "Always":
        causes += [
            forbidden(f"{field}.{name}", "may not be set for init containers without restartPolicy=Always")
            for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
            if container.get(name)
        ]
    return causes


def _ports(ports: Collection[Object], field: str) -> Causes:
    causes: list[Cause] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        place = f"{field}[{index}]"
        name = port.get("name")
        if name:
            causes += each_invalid(f"{place}.name", name, validation.port_name(name))
            if name in names:
                causes.append(duplicate(f"{place}.name", name))
            names.add(name)
        number = port.get("containerPort")
        if not number:
            causes.append(required(f"{place}.containerPort"))
        else:
            causes += each_invalid(f"{place}.containerPort", number, validation.port_number(number))
        if port.get("hostPort"):
            causes += each_invalid(f"{place}.hostPort", port["hostPort"], validation.port_number(port["hostPort"]))
        causes += one_of(f"{place}.protocol", port.get("protocol"), PROTOCOLS, optional=False)
    return causes


def _host_port_conflicts(spec: Object, field: str) -> Causes:
    causes: list[Cause] = []
    taken: set[tuple[Any, ...]] = set()
    for ci, container in enumerate(spec.get("containers") or ()):
        for pi, port in enumerate(container.get("ports") or ()):
            place = f"{field}.containers[{ci}].ports[{pi}].hostPort"
            if not port.get("hostPort"):
                continue
            if spec.get("hostNetwork") and port["hostPort"] != port.get("containerPort"):
                causes.append(
                    invalid(place, port.get("containerPort"), "must match `hostPort` when `hostNetwork` is true")
                )
            key = (port["hostPort"], port.get("protocol"), port.get("hostIP", ""))
            if key in taken:
                causes.append(duplicate(place, f"{key[1]}/{key[2]}/{key[0]}"))
            taken.add(key)
    return causes


def _env(variables: Collection[Object], field: str) -> Causes:
    causes: list[Cause] = []
    for index, variable in enumerate(variables):
        place, name = f"{field}[{index}]", variable.get("name", "")
        causes += (
            each_invalid(f"{place}.name", name, validation.env_name(name)) if name else [required(f"{place}.name")]
        )
        source = variable.get("valueFrom")
        if source is not None:
            causes += _env_source(source, variable.get("value"), f"{place}.valueFrom")
    return causes


def _env_source(source: Object, value: str | None, field: str) -> Causes:
    named = [k for k in source if source[k] is not None]
    if not named:
        return [invalid(field, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, "
                        "`secretKeyRef` or `fileKeyRef`")]  # fmt: skip
    if value:
        return [invalid(field, "", "may not be specified when `value` is not empty")]
    if len(named) > 1:
        return [invalid(field, "", "may not have more than one field specified at a time")]
    if "fieldRef" in source:
        return _field_path(source["fieldRef"], f"{field}.fieldRef")
    reference = source[named[0]]
    if named[0] in ("configMapKeyRef", "secretKeyRef") and not reference.get("key"):
        return [required(f"{field}.{named[0]}.key")]
    return []


def _field_path(reference: Object, field: str) -> Causes:
    path = reference.get("fieldPath", "")
    if not path:
        return [required(f"{field}.fieldPath")]
    if path in _FIELD_PATHS or path.startswith(("metadata.labels['", "metadata.annotations['")):
        return []
    return [not_supported(f"{field}.fieldPath", path, _FIELD_PATHS)]


def _env_from(sources: Collection[Object], field: str) -> Causes:
    causes: list[Cause] = []
    for index, source in enumerate(sources):
        if prefix := source.get("prefix"):
            causes += each_invalid(f"{field}[{index}].prefix", prefix, validation.env_name(prefix))
        kinds = [k for k in ("configMapRef", "secretRef") if source.get(k) is not None]
        if len(kinds) != 1:
            what = "may not have more than one field specified at a time" if kinds else (
                "must specify one of: `configMapRef` or `secretRef`")  # fmt: skip
            causes.append(invalid(f"{field}[{index}]", "", what))
        elif not source[kinds[0]].get("name"):
            causes.append(required(f"{field}[{index}].{kinds[0]}.name"))
    return causes


def validate_resources(resources: Mapping[str, Any], field: str) -> Causes:
    """Names and amounts, and that no request exceeds its limit."""
    causes: list[Cause] = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for group, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            place = f"{field}.{group}[{name}]" if "." in name else f"{field}.{group}.{name}"
            causes += _amount(name, amount, place)
    for name, amount in requests.items():
        limit = limits.get(name)
        if limit is not None and quantity.parse(amount) > quantity.parse(limit):
            causes.append(
                invalid(f"{field}.requests", amount, f"must be less than or equal to {name} limit of {limit}")
            )
        elif name not in _NATIVE:
            causes += _not_overcommitted(name, amount, limit, field)
    return causes


def _not_overcommitted(name: str, amount: str, limit: str | None, field: str) -> Causes:
    """Whole devices are not shared: their request is their limit."""
    if limit is None:
        return [required(f"{field}.limits", "Limit must be set for non overcommitable resources")]
    if quantity.parse(amount) != quantity.parse(limit):
        return [invalid(f"{field}.requests", amount, f"must be equal to {name} limit of {limit}")]
    return []


def _amount(name: str, amount: str, field: str) -> Causes:
    causes = each_invalid(field, name, validation.qualified_name(name))
    if "/" not in name and name not in _NATIVE and not name.startswith("hugepages-"):
        causes.append(invalid(field, name, "must be a standard resource for containers"))
    value = quantity.parse(amount)
    if value < 0:
        causes.append(invalid(field, amount, "must be greater than or equal to 0"))
    if "/" in name and value != value.to_integral_value():
        causes.append(invalid(field, amount, "must be an integer"))
    return causes


def _security(context: Object, field: str) -> Causes:
    causes = non_negative(f"{field}.runAsUser", context.get("runAsUser"))
    causes += non_negative(f"{field}.runAsGroup", context.get("runAsGroup"))
    if context.get("privileged") and context.get("allowPrivilegeEscalation") is False:
        causes.append(
            invalid(field, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
        )
    return causes
