"""What is checked of every object's metadata, whatever its kind.

Source: ``k8s.io/apimachinery/pkg/api/validation/objectmeta.go``.
"""

from collections.abc import Callable, Mapping
from typing import Any

from apimachinery import scheme, validation
from apimachinery.errors import Cause
from apimachinery.scheme import Kind

from .causes import Causes, each_invalid, forbidden, invalid, required

Object = dict[str, Any]
NameCheck = Callable[[str], tuple[str, ...]]

MAX_ANNOTATIONS_BYTES = 256 * 1024

_NAME_CHECKS: Mapping[str, NameCheck] = {
    "namespaces": validation.dns_label,
    "services": validation.dns_label,
    "roles.rbac.authorization.k8s.io": validation.path_segment,
    "clusterroles.rbac.authorization.k8s.io": validation.path_segment,
    "rolebindings.rbac.authorization.k8s.io": validation.path_segment,
    "clusterrolebindings.rbac.authorization.k8s.io": validation.path_segment,
    "apiservices.apiregistration.k8s.io": validation.path_segment,
    "ipaddresses.networking.k8s.io": validation.canonical_ip,
}
"""Kinds whose names are not DNS subdomains. Services have had the looser rule since RelaxedServiceNameValidation."""


_CORE = {k.group for k in scheme.KINDS} - {"apiextensions.k8s.io", "apiregistration.k8s.io"}
"""The groups whose finalizers must be standard or have a domain: those that upstream does not serve as extensions."""


def validate_metadata(obj: Object, kind: Kind) -> Causes:
    """Name, namespace, labels, annotations, owner references and finalizers of an object about to be stored."""
    meta = obj.get("metadata") or {}
    return [
        *_name(meta, kind),
        *_namespace(meta, kind),
        *validate_labels(meta.get("labels"), "metadata.labels"),
        *validate_annotations(meta.get("annotations"), "metadata.annotations"),
        *_owners(meta),
        *_finalizers(meta, kind),
    ]


def _name(meta: Object, kind: Kind) -> Causes:
    name = meta.get("name")
    if not name:
        return [required("metadata.name", "name or generateName is required")]
    return each_invalid("metadata.name", name, name_check(kind)(name))


def name_check(kind: Kind) -> NameCheck:
    return _NAME_CHECKS.get(kind.group_resource, validation.dns_subdomain)


def _namespace(meta: Object, kind: Kind) -> Causes:
    namespace = meta.get("namespace")
    if not kind.namespaced:
        return [forbidden("metadata.namespace", "not allowed on this type")] if namespace else []
    if not namespace:
        return [required("metadata.namespace")]
    return each_invalid("metadata.namespace", namespace, validation.dns_label(namespace))


def validate_labels(labels: Mapping[str, str] | None, field: str) -> Causes:
    """Keys are qualified names, values short; as in metadata and in selectors."""
    causes: list[Cause] = []
    for key, value in (labels or {}).items():
        causes += each_invalid(field, key, validation.qualified_name(key))
        causes += each_invalid(field, value, validation.label_value(value))
    return causes


def validate_annotations(annotations: Mapping[str, str] | None, field: str) -> Causes:
    if not annotations:
        return []
    causes: list[Cause] = []
    for key in annotations:
        causes += each_invalid(field, key, validation.qualified_name(key.lower()))
    if sum(len(k) + len(v) for k, v in annotations.items()) > MAX_ANNOTATIONS_BYTES:
        causes.append(
            Cause("FieldValueTooLong", f"Too long: may not be more than {MAX_ANNOTATIONS_BYTES} bytes", field)
        )
    return causes


def _owners(meta: Object) -> Causes:
    causes: list[Cause] = []
    controllers = []
    for index, owner in enumerate(meta.get("ownerReferences") or ()):
        field = f"metadata.ownerReferences[{index}]"
        causes += [
            required(f"{field}.{key}", "must not be empty")
            for key in ("apiVersion", "kind", "name", "uid")
            if not owner.get(key)
        ]
        if (owner.get("apiVersion"), owner.get("kind")) == ("v1", "Event"):
            causes.append(invalid(field, owner, "/v1, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            controllers.append(owner.get("name"))
    if len(controllers) > 1:
        detail = "Only one reference can have Controller set to true. Found "
        detail += f'"true" in references for {controllers[0]} and {controllers[1]}'
        causes.append(invalid("metadata.ownerReferences", controllers, detail))
    return causes


def _finalizers(meta: Object, kind: Kind) -> Causes:
    causes: list[Cause] = []
    finalizers = meta.get("finalizers") or []
    for index, name in enumerate(finalizers):
        causes += each_invalid(f"metadata.finalizers[{index}]", name, validation.qualified_name(name))
        if kind.group in _CORE and "/" not in name and name not in ("orphan", "foregroundDeletion", "kubernetes"):
            causes.append(
                invalid(
                    f"metadata.finalizers[{index}]",
                    name,
                    "name is neither a standard finalizer name nor is it fully qualified",
                )
            )
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        causes.append(
            invalid("metadata.finalizers", finalizers, "finalizer orphan and foregroundDeletion cannot be both set")
        )
    return causes


def validate_label_selector(selector: Mapping[str, Any] | None, field: str) -> Causes:
    """The form of a ``metav1.LabelSelector``."""
    causes = validate_labels((selector or {}).get("matchLabels"), f"{field}.matchLabels")
    for index, expression in enumerate((selector or {}).get("matchExpressions") or ()):
        causes += _expression(expression, f"{field}.matchExpressions[{index}]")
    return causes


def _expression(expression: Mapping[str, Any], field: str) -> Causes:
    causes: list[Cause] = []
    operator, values = expression.get("operator", ""), expression.get("values") or []
    if operator in ("In", "NotIn") and not values:
        causes.append(required(f"{field}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist") and values:
        causes.append(
            forbidden(f"{field}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        )
    elif operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
        causes.append(invalid(f"{field}.operator", operator, "not a valid selector operator"))
    key = expression.get("key", "")
    causes += each_invalid(f"{field}.key", key, validation.qualified_name(key))
    for index, value in enumerate(values):
        causes += each_invalid(f"{field}.values[{index}]", value, validation.label_value(value))
    return causes
