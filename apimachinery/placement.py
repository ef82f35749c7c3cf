"""Whether a pod may be on a node: node selector, required node affinity, taints and tolerations.

For one pod and one node at a time, as controllers and the node agent ask it; the scheduler has its own vector form.
Source: ``k8s.io/component-helpers/scheduling/corev1``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apimachinery.meta import labels_of, name_of

Taint = Mapping[str, Any]
Spec = Mapping[str, Any]
Node = Mapping[str, Any]


def tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    """Whether one toleration covers one taint."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    operator, value = toleration.get("operator") or "Equal", taint.get("value") or ""
    match operator:
        case "Exists":
            return True
        case "Equal":
            return bool(toleration.get("key")) and (toleration.get("value") or "") == value
        case "Lt" | "Gt":
            return _compare(operator, value, toleration.get("value") or "")
    return False


def _compare(operator: str, taint_value: str, bound: str) -> bool:
    try:
        return int(taint_value) < int(bound) if operator == "Lt" else int(taint_value) > int(bound)
    except ValueError:
        return False


def untolerated(taints: Iterable[Taint], tolerations: Sequence[Mapping[str, Any]], *effects: str) -> Taint | None:
    """The first taint with one of ``effects`` that no toleration covers."""
    return next((t for t in taints if t["effect"] in effects and not any(tolerates(x, t) for x in tolerations)), None)


def taints_of(node: Node) -> Sequence[Taint]:
    return (node.get("spec") or {}).get("taints") or ()


def matches_node(pod_spec: Spec, node: Node) -> bool:
    """Whether ``nodeSelector`` and the required node affinity let the pod onto ``node``."""
    labels = labels_of(node)
    if any(labels.get(k) != v for k, v in (pod_spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or matches_selector(required, node)


def matches_selector(selector: Mapping[str, Any], node: Node) -> bool:
    """Whether one of the terms of a ``NodeSelector`` matches the node."""
    return any(_term_matches(term, node) for term in selector.get("nodeSelectorTerms") or ())


def _term_matches(term: Mapping[str, Any], node: Node) -> bool:
    """A term without any expression matches nothing."""
    labels, fields = labels_of(node), {"metadata.name": name_of(node)}
    expressions, field_expressions = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not field_expressions:
        return False
    return all(_matches(e, labels) for e in expressions) and all(_matches(e, fields) for e in field_expressions)


def _matches(expression: Mapping[str, Any], have: Mapping[str, str]) -> bool:
    value = have.get(expression["key"])
    values: Sequence[str] = expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            return value is not None and len(values) == 1 and _compare(operator, value, values[0])
    return False
